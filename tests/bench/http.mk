# SPDX-License-Identifier: Apache-2.0
# HTTP beside the call in the process, and bodies of every size, in one run against a daemon of its own.
.PHONY: bench-http
bench: bench-http
bench-http: $(BUILD)/bench/engine $(BUILD)/rankd
	/usr/bin/python3 tests/bench/http_daemon.py --build $(BUILD)
