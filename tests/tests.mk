# SPDX-License-Identifier: Apache-2.0
# Tests. A unit test is one program per tests/unit/ROOM/test_*.c (cmocka); tests of the daemon and
# of the Python client are pytest files in tests/process and tests/python, run by the interpreter of
# a venv over Debian's packages.
unit_src := $(wildcard tests/unit/*/test_*.c)
unit_bin := $(addprefix $(BUILD)/unit/,$(notdir $(unit_src:.c=)))
test_support := $(wildcard tests/unit/support/*.c)

# The programs are in one folder, whatever room their source is in.
$(foreach s,$(unit_src),$(eval $(BUILD)/unit/$(notdir $(s:.c=)): $(call objects,$(s))))
$(unit_bin): $(BUILD)/unit/%: $(call objects,$(test_support)) $(BUILD)/librankd.a $(BUILD)/librk-server.a $(BUILD)/librk.a
	@mkdir -p $(@D)
	$(link) $(filter %.o,$^) $(filter %.a,$^) -Wl,--as-needed -lcmocka -lcurl $(server_libs) -o $@

# rankctl's reading of files.
$(BUILD)/unit/test_array $(BUILD)/unit/test_batch: $(BUILD)/librankctl.a

# These programs start the daemon beside their folder.
$(filter $(BUILD)/unit/test_client_%,$(unit_bin)): | $(BUILD)/rankd

# Allocations that fail on purpose.
failing_bin := $(addprefix $(BUILD)/unit/,test_client_memory test_bank_memory test_reply_memory test_repeat)
$(failing_bin): $(BUILD)/obj/tests/unit/failing/allocations.o
$(failing_bin): \
	LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=strdup,--wrap=free

$(venv)/ready: tests/requirements.txt tests/requirements-alone.txt
	rm -rf $(venv)
	/usr/bin/python3 -m venv --system-site-packages $(venv)
	$(venv)/bin/pip install --quiet --disable-pip-version-check -r $<
	$(venv)/bin/pip install --quiet --disable-pip-version-check --no-deps -r tests/requirements-alone.txt
	touch $@

# Number of tests that run side by side; empty: one per processor. Programs of a build with a
# sanitizer take many times as long, so their time limit is longer.
TEST_JOBS ?=
run_tests = tests/run.py --build $(BUILD) $(if $(TEST_JOBS),--jobs $(TEST_JOBS)) $(if $(SANITIZE),--timeout 3600)

.PHONY: check-unit check-process check-all unit
unit: $(unit_bin)

# Short forms of the parts, for work on one of them: no installing, no closing line for CI.
check-unit: $(unit_bin)
	$(run_tests) --unit $(unit_bin)
# (A wheel of a build with a sanitizer would not be useful.)
wheel_tests := $(if $(SANITIZE),,tests/wheel)
pytest_folders := tests/process tests/python tests/ops tests/seams $(wheel_tests)
check-process check-all: $(if $(SANITIZE),,wheel-build)
check-process: all $(venv)/ready
	$(venv)/bin/python $(run_tests) --pytest $(pytest_folders)
check-all: all $(unit_bin) $(venv)/ready
	$(venv)/bin/python $(run_tests) --unit $(unit_bin) --pytest $(pytest_folders)

check:
	deploy/deps.sh build test demo
	$(MAKE) check-all

asan:
	$(MAKE) BUILD=build/asan SANITIZE=address,undefined CFLAGS='-O1 -g' check-all
tsan:
	$(MAKE) BUILD=build/tsan SANITIZE=thread CFLAGS='-O1 -g' check-all

# The test delays the return of a wait.
$(BUILD)/unit/test_compute_pool: LDFLAGS += -Wl,--wrap=pthread_cond_wait
