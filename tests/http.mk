# The long form of what tests/process/test_http_storm.py does in short.
.PHONY: soak-http
soak: soak-http
soak-http: all $(venv)/ready
	RANKD_STORM=100000 RANKD_BUILD=$(abspath $(BUILD)) $(venv)/bin/python -m pytest -q -p no:cacheprovider tests/process/test_http_storm.py
