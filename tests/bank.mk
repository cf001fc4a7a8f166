# The long forms of the banks' tests of faults: 300 kills, every cut, 4,000 flipped bits, the first 50 syncs.
.PHONY: soak-bank
soak: soak-bank
soak-bank: all $(venv)/ready
	RK_SOAK=1 $(venv)/bin/python tests/run.py --build $(BUILD) --pytest tests/process/test_bank_faults.py tests/process/test_bank_power.py
