# What wants a card; anywhere else it says that it was skipped. And a plugin without one, for the daemon's own tests.
$(BUILD)/gpu-check: $(BUILD)/obj/tests/gpu/check.o $(BUILD)/librk.a
	$(link) $^ -Wl,--as-needed $(lib_libs) -o $@

$(BUILD)/obj/tests/gpu/fake_card.o: pic := -fPIC
$(BUILD)/fake-card.so: $(BUILD)/obj/tests/gpu/fake_card.o
	$(link) -shared $^ -lm -o $@

.PHONY: check-gpu
check-process check-all: $(BUILD)/fake-card.so $(BUILD)/gpu-check
check-gpu: all cuda $(BUILD)/gpu-check
	tests/gpu/run.sh $(BUILD)
bench: bench-gpu
# Beside PyTorch and cuBLAS on the same card, where there is one.
bench-gpu: cuda
	@mkdir -p $(BUILD)/bench
	@if [ -e $(BUILD)/rankd-cuda.so ] && [ -e /dev/nvidiactl ]; then python3 tests/bench/gpu.py $(BUILD)/rankd-cuda.so --json $(BUILD)/bench/gpu.json; else echo 'bench-gpu: skipped, there is no card here'; fi
