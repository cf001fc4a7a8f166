# SPDX-License-Identifier: Apache-2.0
# The Python wheel with daemon, rankctl and librankd, and its tests.
wheel_venv := build/wheel-venv

$(wheel_venv)/ready: deploy/wheel/requirements.txt
	rm -rf $(wheel_venv)
	/usr/bin/python3 -m venv $(wheel_venv)
	$(wheel_venv)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# The daemon of this build; rankctl and librankd once more, without libcurl.
.PHONY: wheel-programs wheel wheel-build check-wheel
wheel:
	@deploy/deps.sh build wheel
	@$(MAKE) --no-print-directory wheel-build

wheel-programs: $(BUILD)/rankd
	$(MAKE) BUILD=$(BUILD)/wheel/clients HTTP_CLIENT=0 $(BUILD)/wheel/clients/rankctl librankd-shared

wheel-build: wheel-programs $(wheel_venv)/ready
	$(wheel_venv)/bin/python deploy/wheel/build.py $(BUILD)

# On Debian 12 and 13 roots that have Python and nothing else. Needs root, mmdebstrap, and a mirror
# of Debian the first time.
check-wheel: wheel $(venv)/ready
	@if [ "$$(id -u)" != 0 ]; then echo 'check-wheel: skipped, entering another root file system needs root'; \
	elif ! command -v mmdebstrap >/dev/null; then echo 'check-wheel: skipped, mmdebstrap is not installed (deploy/deps.sh deploy)'; \
	else $(venv)/bin/python tests/run.py --build $(BUILD) --pytest tests/roots; fi
