# SPDX-License-Identifier: Apache-2.0
# Jobs of several ranks under a torch of PyPI, beside Debian's 1.13 of `make check`; with FSDP.
# Downloads 2.5 GB once.
torch2 := $(BUILD)/venv-torch2
$(torch2)/ready:
	/usr/bin/python3 -m venv $(torch2)
	$(torch2)/bin/pip install --quiet --disable-pip-version-check torch==2.6.0 numpy pytest
	touch $@

.PHONY: check-torch2
check-torch2: all $(torch2)/ready
	RANKD_BUILD=$$PWD/$(BUILD) PYTHONPATH=clients/python PYTHONDONTWRITEBYTECODE=1 $(torch2)/bin/python -m pytest -q -p no:cacheprovider \
	    tests/python/test_torch_joint.py
