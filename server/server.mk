# SPDX-License-Identifier: Apache-2.0
# Running and installing the daemon.
.PHONY: run install-server
RANKD_HTTP ?= 127.0.0.1:8080

run: all
	@echo 'rankd on http://$(RANKD_HTTP) (status page; Ctrl-C ends it). In another terminal:'
	@echo
	@echo "curl -s http://$(RANKD_HTTP)/v2/models/ap/infer -d '{\"inputs\":[{\"name\":\"scores\",\"shape\":[1,4],\"datatype\":\"FP32\",\"data\":[0.9,0.8,0.7,0.6]},{\"name\":\"targets\",\"shape\":[1,4],\"datatype\":\"INT8\",\"data\":[0,1,0,1]}]}'"
	@echo
	@exec $(BUILD)/rankd --http $(RANKD_HTTP)

install: install-server
install-server: all
	install -D -m 755 $(BUILD)/rankd $(DESTDIR)$(PREFIX)/bin/rankd
	if [ -e $(BUILD)/rankd-cuda.so ]; then install -D -m 644 $(BUILD)/rankd-cuda.so $(DESTDIR)$(PREFIX)/lib/rankd/rankd-cuda.so; fi
