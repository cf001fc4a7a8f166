# SPDX-License-Identifier: Apache-2.0
# The first loss of a process without a URL.
.PHONY: bench-autostart
bench: bench-autostart
bench-autostart: wheel
	python3 tests/bench/autostart.py $(BUILD)/wheel/rankd-$(VERSION)-py3-none-*.whl
