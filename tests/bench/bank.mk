# Banks: loss + append by trainers and durability, and reading 1 GB back.
.PHONY: bench-bank
bench: bench-bank
bench-bank: all $(venv)/ready
	RANKD_BUILD=$(abspath $(BUILD)) $(venv)/bin/python tests/bench/bank.py
