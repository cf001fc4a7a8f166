# SPDX-License-Identifier: Apache-2.0
# The plugin that drives NVIDIA GPUs. `make cuda` needs the CUDA toolkit, and says so if there is
# none; nothing else in the project needs it.
NVCC ?= nvcc
CUDA_ARCHS ?= 80 90
cuda_src := $(wildcard lib/cuda/*.cu)
cuda_obj := $(patsubst %.cu,$(BUILD)/obj/%.cu.o,$(cuda_src))
# Machine code for each architecture, and PTX of the last one for newer devices. No contraction
# into FMA: results are promised to the bit; nvcc's other defaults (denormals kept, division and
# root rounded right) are what that takes.
cuda_code := $(foreach a,$(CUDA_ARCHS),-gencode=arch=compute_$(a),code=sm_$(a)) -gencode=arch=compute_$(lastword $(CUDA_ARCHS)),code=compute_$(lastword $(CUDA_ARCHS))
cuda_flags := -std=c++17 -O3 -fmad=false --expt-relaxed-constexpr -lineinfo -Iproto -Ilib -Xcompiler -fPIC,-Wall,-fvisibility=hidden,-ffp-contract=off

.PHONY: cuda
ifneq ($(shell command -v $(NVCC) 2>/dev/null),)
cuda: $(BUILD)/rankd-cuda.so
else
cuda:
	@echo 'make cuda: $(NVCC) is not here, so build/rankd-cuda.so is not built; install the CUDA toolkit or set NVCC'
endif

$(BUILD)/obj/lib/cuda/%.cu.o: lib/cuda/%.cu lib/cuda/cuda.mk
	@mkdir -p $(@D)
	$(NVCC) $(cuda_code) $(cuda_flags) -MMD -MP -c $< -o $@

$(BUILD)/rankd-cuda.so: $(cuda_obj)
	$(NVCC) -shared -cudart static $(cuda_code) $^ -lcublas -o $@
