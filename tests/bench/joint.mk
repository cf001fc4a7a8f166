# SPDX-License-Identifier: Apache-2.0
# The joint step of a job beside one process with the whole batch, gathering by hand, and
# pytorch-metric-learning.
.PHONY: bench-joint
bench: bench-joint
bench-joint: all $(BUILD)/bench/venv/ready
	RANKD_BUILD=$$PWD/$(BUILD) PYTHONPATH=clients/python $(BUILD)/bench/venv/bin/python tests/bench/joint.py --build $(BUILD)
