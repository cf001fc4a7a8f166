# SPDX-License-Identifier: Apache-2.0
# Banks in a store: the long forms of their tests, and their figures.
.PHONY: soak-store bench-store
soak: soak-store
soak-store: all build/venv/ready
	RK_SOAK=1 RANKD_BUILD=$(abspath $(BUILD)) PYTHONPATH=tests/process PYTHONDONTWRITEBYTECODE=1 $(venv)/bin/python -m pytest \
	    -q -s -p no:cacheprovider --durations=5 tests/process/test_bank_store.py tests/process/test_bank_store_faults.py tests/process/test_bank_store_answers.py \
	    tests/process/test_bank_store_sentinel.py tests/soak/test_store_links.py

# The same commands by hiredis alone, for comparison.
ifeq ($(shell pkg-config --exists hiredis && echo yes),yes)
$(BUILD)/bench/store_bare: $(call objects,tests/bench/store_bare.c)
	@mkdir -p $(@D)
	$(link) $(filter %.o,$^) -lhiredis -o $@
$(BUILD)/bench/store_load: $(call objects,tests/bench/store_load.c) $(BUILD)/librankd.a
	@mkdir -p $(@D)
	$(link) $(filter %.o,$^) $(filter %.a,$^) -lcurl -ljansson -lm -o $@
$(BUILD)/bench/store_fan: $(call objects,tests/bench/store_fan.c) $(BUILD)/librankd.a
	@mkdir -p $(@D)
	$(link) $(filter %.o,$^) $(filter %.a,$^) -lcurl -ljansson -lm -o $@
endif
bench-store: all $(BUILD)/bench/store_bare $(BUILD)/bench/store_load $(BUILD)/bench/store_fan build/venv/ready
	RANKD_BUILD=$(abspath $(BUILD)) PYTHONPATH=tests:tests/process $(venv)/bin/python tests/bench/store.py
