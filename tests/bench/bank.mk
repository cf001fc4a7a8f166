# SPDX-License-Identifier: Apache-2.0
# Banks: loss + append by trainers and durability, reading 1 GB back, and what a million batch ids
# cost.
$(BUILD)/bench/bank_ids: $(BUILD)/obj/tests/bench/bank_ids.o $(BUILD)/librk-server.a $(BUILD)/librk.a
	@mkdir -p $(@D)
	$(link) $^ -Wl,--as-needed $(server_libs) -o $@

.PHONY: bench-bank
bench: bench-bank
bench-bank: all $(BUILD)/bench/bank_ids $(venv)/ready
	$(BUILD)/bench/bank_ids $(BUILD)/bench/ids
	RANKD_BUILD=$(abspath $(BUILD)) $(venv)/bin/python tests/bench/bank.py
