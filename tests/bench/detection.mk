# SPDX-License-Identifier: Apache-2.0
# Lists of a detector's anchors beside the AP losses of the field, and lists of different lengths,
# in one table.
.PHONY: bench-detection
bench: bench-detection
bench-detection: $(BUILD)/bench/engine
	/usr/bin/python3 tests/bench/detection.py --program $(BUILD)/bench/engine --out $(BUILD)/bench
