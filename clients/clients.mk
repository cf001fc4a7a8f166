# SPDX-License-Identifier: Apache-2.0
# The clients: make demo, and the Python package's part of make install.
.PHONY: demo-run
demo:
	@deploy/deps.sh build demo
	@$(MAKE) --no-print-directory demo-run

demo-run: $(BUILD)/rankd $(BUILD)/librankd.so.$(VERSION)
	/usr/bin/python3 clients/python/demo/demo.py --daemon $(BUILD)/rankd --plot $(BUILD)/rankd-demo.png $(DEMO)
