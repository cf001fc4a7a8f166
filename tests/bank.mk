# SPDX-License-Identifier: Apache-2.0
# The long forms of the fault tests of banks: 300 kills, every cut, 4,000 flipped bits, the first
# 50 syncs; power loss.
.PHONY: soak-bank soak-bank-states
soak: soak-bank soak-bank-states
soak-bank: all build/venv/ready
	RK_SOAK=1 RANKD_BUILD=$(abspath $(BUILD)) PYTHONPATH=tests/process PYTHONDONTWRITEBYTECODE=1 $(venv)/bin/python -m pytest \
	    -q -p no:cacheprovider --durations=5 tests/process/test_bank_faults.py tests/process/test_bank_files.py \
	    tests/process/test_bank_states.py tests/soak/test_bank_power.py

# Every sequence of six operations (make check: four): one process per test, some four minutes of
# CPU each.
soak-bank-states: $(BUILD)/unit/test_bank_states
	for i in 1 2 3 4 5 6; do RK_STATES_LENGTH=6 RK_STATES_ONLY=$$i $< > $(BUILD)/states-$$i.log 2>&1 & pids="$$pids $$!"; done; \
	    failed=0; for pid in $$pids; do wait $$pid || failed=1; done; cat $(BUILD)/states-*.log; exit $$failed

# A disk in memory behind the calls of libc, small segments, and no threads.
disk_calls := open __open_2 close read pread write pwrite fsync fdatasync ftruncate fstat stat access flock link unlink \
	rmdir mkdir rename opendir readdir closedir scandir time rk_now_ns rk_rule_segment_bytes rk_threads_add
comma := ,
$(BUILD)/unit/test_bank_states: $(call objects,$(wildcard tests/unit/disk/*.c))
$(BUILD)/unit/test_bank_states: LDFLAGS += $(patsubst %,-Wl$(comma)--wrap=%,$(disk_calls))
