# SPDX-License-Identifier: Apache-2.0
# The Python wheel with daemon, rankctl and librankd, and its tests.
wheel_venv := build/wheel-venv

$(wheel_venv)/ready: deploy/wheel/requirements.txt
	rm -rf $(wheel_venv)
	/usr/bin/python3 -m venv $(wheel_venv)
	$(wheel_venv)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# The daemon of this build; rankctl and librankd once more, without libcurl.
.PHONY: wheel-programs wheel check-wheel
wheel-programs: $(BUILD)/rankd
	$(MAKE) BUILD=$(BUILD)/wheel/clients HTTP_CLIENT=0 $(BUILD)/wheel/clients/rankctl librankd-shared

wheel: wheel-programs $(wheel_venv)/ready
	$(wheel_venv)/bin/python deploy/wheel/build.py $(BUILD)
