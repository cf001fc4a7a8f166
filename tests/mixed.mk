# SPDX-License-Identifier: Apache-2.0
# The long form of tests/process/test_mixed.py: MIXED requests of all kinds, and memory, descriptors
# and threads afterwards.
MIXED ?= 200000
.PHONY: soak-mixed
soak: soak-mixed
soak-mixed: all $(venv)/ready
	RANKD_MIXED=$(MIXED) RANKD_BUILD=$$PWD/$(BUILD) PYTHONPATH=clients/python PYTHONDONTWRITEBYTECODE=1 $(venv)/bin/python -m pytest \
	    -q -s -p no:cacheprovider tests/process/test_mixed.py
