# The ring's long forms: ten minutes of scribbling under ASan and UBSan, 10,000 connects.
.PHONY: soak-ring
soak: soak-ring
soak-ring: $(venv)/ready
	$(MAKE) BUILD=build/asan SANITIZE=address,undefined CFLAGS='-O1 -g' all
	RING_SOAK=1 RANKD_BUILD=build/asan PYTHONPATH=clients/python $(venv)/bin/python -m pytest -q -p no:cacheprovider \
	    tests/process/test_ring_hostile.py
