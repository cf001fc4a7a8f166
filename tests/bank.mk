# The long forms of the banks' tests of faults: 300 kills, every cut, 4,000 flipped bits, the first 50 syncs; power loss.
.PHONY: soak-bank
soak: soak-bank
soak-bank: all build/venv/ready
	RK_SOAK=1 RANKD_BUILD=$(abspath $(BUILD)) PYTHONPATH=tests/process PYTHONDONTWRITEBYTECODE=1 $(venv)/bin/python -m pytest \
	    -q -p no:cacheprovider --durations=5 tests/process/test_bank_faults.py tests/soak/test_bank_power.py
