# SPDX-License-Identifier: Apache-2.0
# JSON in and out: on one core beside other libraries, then over HTTP, and the memory of a large
# body.
$(BUILD)/obj/tests/bench/json_peers.o: tests/bench/json_peers.cc tests/bench/json_peers.h
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -O2 -Itests -c $< -o $@

$(BUILD)/bench/json: $(BUILD)/obj/tests/bench/json.o $(BUILD)/obj/tests/bench/json_peers.o $(BUILD)/librk-server.a $(BUILD)/librk.a
	@mkdir -p $(@D)
	$(CXX) -pthread $(sanitize) $^ -Wl,--as-needed -lsimdjson $(server_libs) -o $@

# OLD=/path/to/other/build: beside another build, by turns.
.PHONY: bench-json
bench: bench-json
bench-json: $(BUILD)/rankd
	deploy/deps.sh bench
	$(MAKE) $(BUILD)/bench/json
	$(BUILD)/bench/json
	/usr/bin/python3 tests/bench/json_http.py $(OLD) $(BUILD)
