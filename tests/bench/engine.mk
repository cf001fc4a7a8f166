# SPDX-License-Identifier: Apache-2.0
# The engine beside its peers, and the crossovers of the strategies.
.PHONY: bench-engine tune
bench: bench-engine

# Compiled for this machine, so that the bare reads and writes are as fast as possible.
$(BUILD)/obj/tests/bench/engine.o: isa := -O3 -march=native
# Benches of the engine do not link the support code that needs the server.
bench_support := $(filter-out $(addprefix tests/unit/support/,client.c daemon.c memory_store.c),$(test_support))
# The threads that the daemon lends, and its tuning.
$(BUILD)/bench/engine: $(call objects,server/exec/compute_pool.c server/base/threads.c server/exec/tuning_file.c server/config/file_read.c)
$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o $(call objects,$(bench_support)) $(BUILD)/librk.a
	@mkdir -p $(@D)
	$(link) $^ -Wl,--as-needed -lcmocka $(lib_libs) -o $@

bench-engine: $(BUILD)/bench/engine
	/usr/bin/python3 tests/bench/engine.py --program $(BUILD)/bench/engine --out $(BUILD)/bench

tune: $(BUILD)/bench/tune
	$(BUILD)/bench/tune

# This build beside another one, by turns: make bench-compare OLD=/path/to/other/build
.PHONY: bench-compare
bench-compare: $(BUILD)/bench/engine all
	/usr/bin/python3 tests/bench/compare.py $(OLD) $(BUILD)
