# SPDX-License-Identifier: Apache-2.0
# Fuzzing: tests/fuzz/<target>.c defines rk_fuzz_<target>(). `make fuzz` runs each under libFuzzer
# for FUZZ_SECONDS with AddressSanitizer and UBSan; `make check` runs the same functions over corpus
# and mutations (tests/unit/codec/test_fuzz.c).
FUZZ_SECONDS ?= 60
fuzz_targets := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
fuzz_build := build/fuzz
fuzz_include := -Iproto -Ilib -Iserver -Iclients/c -Itests
fuzz_archives := librankctl.a librankd.a librk-server.a librk.a

$(BUILD)/unit/test_fuzz $(BUILD)/unit/test_json_tensors: $(call objects,$(wildcard tests/fuzz/*.c)) $(BUILD)/librankctl.a

.PHONY: fuzz soak-fuzz
fuzz: $(addprefix run-fuzz-,$(fuzz_targets))
soak: soak-fuzz
soak-fuzz:
	$(MAKE) fuzz FUZZ_SECONDS=300

run-fuzz-%: $(fuzz_build)/%
	@mkdir -p $(fuzz_build)/corpus/$*
	$(fuzz_build)/$* -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 \
	    -artifact_prefix=$(fuzz_build)/crash-$*- $(fuzz_build)/corpus/$* tests/fuzz/corpus/$*

# A separate make builds the library again, instrumented; the few lines of the driver are written
# here.
.PHONY: fuzz-library
fuzz-library:
	$(MAKE) BUILD=$(fuzz_build)/lib CC=clang CFLAGS='-O1 -g' SANITIZE=fuzzer-no-link,address,undefined \
	    $(addprefix $(fuzz_build)/lib/,$(fuzz_archives))

$(addprefix $(fuzz_build)/,$(fuzz_targets)): $(fuzz_build)/%: tests/fuzz/%.c fuzz-library
	@mkdir -p $(@D)
	printf '#include "targets.h"\nint LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);\nint LLVMFuzzerTestOneInput(const uint8_t *d, size_t n)\n{\n    rk_fuzz_%s(d, n);\n    return 0;\n}\n' $* >$(fuzz_build)/$*_driver.c
	clang $(language) $(fuzz_include) -Itests/fuzz -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	    $(fuzz_build)/$*_driver.c $< $(addprefix $(fuzz_build)/lib/,$(fuzz_archives)) -Wl,--as-needed -lcurl $(server_libs) -o $@
