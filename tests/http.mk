# The long form of what tests/process/test_http_storm.py does in short, plain and under ASan and UBSan.
.PHONY: soak-http
soak: soak-http
soak-http: all $(venv)/ready
	$(MAKE) BUILD=build/asan SANITIZE=address,undefined CFLAGS='-O1 -g' all
	for build in $(BUILD) build/asan; do \
	    RANKD_STORM=100000 RANKD_BUILD=$$PWD/$$build $(venv)/bin/python -m pytest -q -p no:cacheprovider tests/process/test_http_storm.py || exit 1; \
	done
