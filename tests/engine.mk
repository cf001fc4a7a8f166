# SPDX-License-Identifier: Apache-2.0
# Special build rules for tests of the engine.

# Allocations that fail on purpose: the program defines __wrap_malloc and __wrap_mmap.
$(BUILD)/unit/test_engine_memory: LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=mmap

.PHONY: soak-engine soak-graded
soak: soak-engine soak-graded
# Many times the random lists of check.
soak-engine: $(addprefix $(BUILD)/unit/test_,engine_oracle engine_lists retrieval_gallery)
	for program in $^; do RK_SOAK=40 $$program || exit 1; done

# The same over HTTP and the ring.
.PHONY: soak-lists
soak: soak-lists
soak-lists: all $(venv)/ready
	RANKD_LISTS_ROUNDS=5000 RANKD_BUILD=$$PWD/$(BUILD) PYTHONPATH=clients/python $(venv)/bin/python -m pytest -q \
	    -p no:cacheprovider tests/python/test_lists.py -k 'oracle or definitions or list_by_list'

# 12,000 random requests of graded relevance, first hit and cut-offs against the definition.
soak-graded: all $(venv)/ready
	RK_SOAK=30 RANKD_BUILD=$(abspath $(BUILD)) PYTHONPATH=clients/python $(venv)/bin/python -m pytest -q -p no:cacheprovider \
	    tests/python/test_graded.py
