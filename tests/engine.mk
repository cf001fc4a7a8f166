# SPDX-License-Identifier: Apache-2.0
# The engine's own rules of test.

# Allocations that fail on purpose: the program supplies __wrap_malloc and __wrap_mmap.
$(BUILD)/unit/test_engine_memory: LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=mmap

.PHONY: soak-engine
soak: soak-engine
# Many times the random lists of check.
soak-engine: $(BUILD)/unit/test_engine_oracle $(BUILD)/unit/test_retrieval_gallery
	RK_SOAK=40 $(BUILD)/unit/test_engine_oracle
	RK_SOAK=40 $(BUILD)/unit/test_retrieval_gallery
