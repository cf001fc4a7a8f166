# SPDX-License-Identifier: Apache-2.0
# Hosts of the Python package as they come from PyPI, on a current torch (`make check` has Debian's
# 1.13). A venv for each group whose pins agree; all but JAX's see the packages of torch's through a
# .pth file. 7 GB, of which 2.5 are downloaded once.
hosts := torch sentences oml
host_python := tests/python/test_torch_*.py $(addprefix tests/python/test_,metric_learning.py detection.py boosting.py monitor.py \
    host_checkpoints.py graded.py gallery.py lists.py readme.py parameters.py wording.py)

.PHONY: check-hosts $(addprefix check-host-,$(hosts))
check-hosts: $(addprefix check-host-,$(hosts)) check-client-jax

.PRECIOUS: build/hosts/%/ready
build/hosts/torch/ready: tests/hosts/torch.txt
	rm -rf $(@D)
	/usr/bin/python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps -r $<
	touch $@
build/hosts/%/ready: tests/hosts/%.txt build/hosts/torch/ready
	rm -rf $(@D)
	/usr/bin/python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps -r $<
	for folder in $(@D)/lib/python3.*/site-packages; do \
	    echo $$PWD/build/hosts/torch/lib/$$(basename $$(dirname $$folder))/site-packages > $$folder/torch.pth; done
	touch $@

# One thread each: those of OpenMP wait for each other by spinning where processors are shared.
host_run = OMP_NUM_THREADS=1 RANKD_BUILD=$$PWD/$(BUILD) PYTHONPATH=clients/python PYTHONDONTWRITEBYTECODE=1 build/hosts/$(1)/bin/python -m pytest -q \
    -p no:cacheprovider --durations=10
check-host-torch: all $(BUILD)/emulated-device.so build/hosts/torch/ready
	$(call host_run,torch) tests/hosts/test_torch_*.py
	$(call host_run,torch) $(host_python)
check-host-sentences: all build/hosts/sentences/ready
	$(call host_run,sentences) tests/hosts/test_sentences.py
check-host-oml: all build/hosts/oml/ready
	$(call host_run,oml) tests/hosts/test_oml.py
