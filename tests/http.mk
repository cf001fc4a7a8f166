# SPDX-License-Identifier: Apache-2.0
# The long form of tests/process/test_http_storm.py, plain and under ASan and UBSan.
.PHONY: soak-http
soak: soak-http
soak-http: all $(venv)/ready
	$(MAKE) BUILD=build/asan SANITIZE=address,undefined CFLAGS='-O1 -g' all
	for build in $(BUILD) build/asan; do \
	    RANKD_STORM=100000 RANKD_BUILD=$$PWD/$$build $(venv)/bin/python -m pytest -q -p no:cacheprovider tests/process/test_http_storm.py || exit 1; \
	done

# Other clients of the protocol as they come from PyPI. Not part of `make check`: they take minutes
# and 800 MB to install. tests/process/test_http_clients.py, which is part of it, has recordings of
# their requests.
clients := kserve mlserver
.PHONY: check-clients
soak: check-clients
check-clients: $(addprefix check-client-,$(clients))
.PRECIOUS: build/clients/%/ready
build/clients/%/ready: tests/clients/%.txt
	rm -rf $(@D)
	/usr/bin/python3 -m venv --system-site-packages $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@
check-client-%: all build/clients/%/ready
	RANKD_BUILD=$$PWD/$(BUILD) PYTHONPATH=clients/python build/clients/$*/bin/python -m pytest -q -p no:cacheprovider \
	    tests/clients/test_$*.py
