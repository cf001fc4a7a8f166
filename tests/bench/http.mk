# SPDX-License-Identifier: Apache-2.0
# HTTP beside the call in the process, bodies of every size, and requests per second beside
# libmicrohttpd alone, in one run against a daemon of its own.
$(BUILD)/bench/http_%: tests/bench/http_%.c $(BUILD)/librk.a
	@mkdir -p $(@D)
	$(CC) -std=c17 -D_GNU_SOURCE -O2 -Wall -Wextra -Ilib -Iproto $< $(BUILD)/librk.a -lmicrohttpd $(lib_libs) -o $@

.PHONY: bench-http
bench: bench-http
bench-http: $(BUILD)/bench/engine $(BUILD)/bench/http_load $(BUILD)/bench/http_alone $(BUILD)/rankd
	/usr/bin/python3 tests/bench/http_daemon.py --build $(BUILD)
