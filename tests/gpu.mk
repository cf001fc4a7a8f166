# SPDX-License-Identifier: Apache-2.0
# Tests that need a device; on other machines they report that they were skipped. And the plugin on
# an emulated device, which runs everywhere: the same sources, compiled for the host.
$(BUILD)/gpu-check: $(patsubst %,$(BUILD)/obj/tests/gpu/%.o,check check_retrieval check_scores check_sizes check_unknown sample)
$(BUILD)/gpu-changing: $(BUILD)/obj/tests/gpu/changing.o
$(BUILD)/gpu-check $(BUILD)/gpu-changing: $(BUILD)/librk.a
	$(link) $(filter %.o,$^) $(BUILD)/librk.a -Wl,--as-needed $(lib_libs) -o $@

CXX := $(if $(findstring clang,$(CC)),clang++,g++)
CXXFLAGS ?= -O2 -g
emulated_src := $(wildcard lib/cuda/*.cu tests/gpu/emulator/*.cc)
emulated_obj := $(patsubst %,$(BUILD)/obj/emulated/%.o,$(emulated_src))
# nvcc includes the runtime before everything else, too. Results are promised to the bit: no
# contraction into FMA.
emulated_compile = $(CXX) -std=c++17 -Wall -Wextra -Wno-unknown-pragmas -fPIC -fvisibility=hidden -ffp-contract=off -pthread $(sanitize) $(CXXFLAGS) \
	-Iproto -Ilib -Itests/gpu/emulator -include cuda_runtime.h -MMD -MP -x c++

$(BUILD)/obj/emulated/%.o: % tests/gpu.mk
	@mkdir -p $(@D)
	$(emulated_compile) -c $< -o $@
$(BUILD)/emulated-device.so: $(emulated_obj)
	$(CXX) -shared -pthread $(sanitize) $^ -lboost_context -lopenblas -o $@

# The same with AddressSanitizer in any build: only that detects bad accesses of device code to
# memory that changes meanwhile.
watched_obj := $(patsubst %,$(BUILD)/obj/watched/%.o,$(emulated_src))
$(BUILD)/obj/watched/%.o: sanitize := -fsanitize=address -fno-omit-frame-pointer
$(BUILD)/obj/watched/%.o: % tests/gpu.mk
	@mkdir -p $(@D)
	$(emulated_compile) -c $< -o $@
$(BUILD)/watched-device.so: $(watched_obj)
	$(CXX) -shared -pthread -fsanitize=address $^ -lboost_context -lopenblas -o $@

.PHONY: check-gpu
check-process check-all: $(BUILD)/emulated-device.so $(BUILD)/watched-device.so $(BUILD)/gpu-check $(BUILD)/gpu-changing
check-gpu: all cuda $(BUILD)/gpu-check
	tests/gpu/run.sh $(BUILD)
# Device code on the emulated device, longer than `make check` has time for; not of a build with a
# sanitizer of its own.
.PHONY: soak-device
soak: soak-device
soak-device: $(BUILD)/emulated-device.so $(BUILD)/watched-device.so $(BUILD)/gpu-check $(BUILD)/gpu-changing
	@for seed in $${SOAK_SEEDS:-101 102 103 104 105 106}; do \
	    echo "device code, seed $$seed:"; \
	    EMULATED_DEVICE_SEED=$$seed $(BUILD)/gpu-check $(BUILD)/emulated-device.so 200 $$seed 400000 || exit 1; \
	    LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libstdc++.so.6)" ASAN_OPTIONS=detect_leaks=0 EMULATED_DEVICE_SEED=$$seed EMULATED_DEVICE_MEDDLES=1 \
	        $(BUILD)/gpu-changing $(BUILD)/watched-device.so 400 $$seed || exit 1; \
	done
bench: bench-gpu
# Beside PyTorch and cuBLAS on the same device. Without a device the plugin, which takes minutes to
# build, is not built either.
DEVICE_NODE := /dev/nvidiactl
.PHONY: bench-gpu
bench-gpu: $(if $(wildcard $(DEVICE_NODE)),cuda)
	@mkdir -p $(BUILD)/bench
	@if [ -e $(BUILD)/rankd-cuda.so ] && [ -e $(DEVICE_NODE) ]; then python3 tests/bench/gpu.py $(BUILD)/rankd-cuda.so --json $(BUILD)/bench/gpu.json; else echo 'bench-gpu: skipped, there is no device here'; fi
