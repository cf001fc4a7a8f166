# SPDX-License-Identifier: Apache-2.0
# Learning to rank: lists of different lengths, beside PyTorch over padded ones and the pairwise
# losses of the field.
.PHONY: bench-ltr
bench: bench-ltr
bench-ltr: $(BUILD)/bench/engine
	/usr/bin/python3 tests/bench/ltr.py --program $(BUILD)/bench/engine --out $(BUILD)/bench
