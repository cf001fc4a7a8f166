# SPDX-License-Identifier: Apache-2.0
# The ring's long forms: ten minutes of scribbling under ASan and UBSan; everything once under TSan.
.PHONY: soak-ring
soak: soak-ring
soak-ring: $(venv)/ready
	$(MAKE) BUILD=build/asan SANITIZE=address,undefined CFLAGS='-O1 -g' all
	RING_SOAK=1 RANKD_BUILD=build/asan PYTHONPATH=clients/python $(venv)/bin/python -m pytest -q -p no:cacheprovider \
	    tests/process/test_ring_hostile.py
	$(MAKE) BUILD=build/tsan SANITIZE=thread CFLAGS='-O1 -g' all
	RANKD_BUILD=build/tsan PYTHONPATH=clients/python $(venv)/bin/python -m pytest -q -p no:cacheprovider \
	    tests/process/test_ring.py tests/process/test_ring_fairness.py tests/process/test_ring_hostile.py

# The ring beside the call in the process, HTTP and a bare socket, in one run against a daemon of
# its own. RING_SECONDS: how long each number of clients at each depth runs; or --neighbours: one
# client beside busy processes.
RING_SECONDS ?= 1
.PHONY: bench-ring
$(BUILD)/bench/ring: $(BUILD)/obj/tests/bench/ring.o $(BUILD)/librankd.a $(BUILD)/librk.a
	@mkdir -p $(@D)
	$(link) $(filter %.o,$^) $(filter %.a,$^) -lcurl -ljansson $(lib_libs) -o $@
bench: bench-ring
bench-ring: $(BUILD)/bench/ring $(BUILD)/rankd
	@folder=$$(mktemp -d); port=$$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'); \
	$(BUILD)/rankd --log-level=warn --workers=1 --ring-spin-us=2000 --http=127.0.0.1:$$port --socket=$$folder/ring >/dev/null & daemon=$$!; \
	until [ -S $$folder/ring ]; do sleep 0.1; done; \
	$(BUILD)/bench/ring $$folder/ring http://127.0.0.1:$$port $$daemon $(RING_SECONDS); code=$$?; kill $$daemon; wait $$daemon; rm -rf $$folder; exit $$code
