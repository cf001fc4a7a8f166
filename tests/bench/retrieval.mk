# SPDX-License-Identifier: Apache-2.0
# A batch of embeddings against a large bank, beside the bare product.
$(BUILD)/bench/retrieval: $(BUILD)/obj/tests/bench/retrieval.o $(BUILD)/librk.a
	@mkdir -p $(@D)
	$(link) $^ -lopenblas $(lib_libs) -o $@

# The same in plain PyTorch; in a venv of its own, because the tests do not need it.
$(BUILD)/bench/venv/ready:
	/usr/bin/python3 -m venv --system-site-packages $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check pytorch-metric-learning
	touch $@

.PHONY: bench-retrieval
bench: bench-retrieval
bench-retrieval: $(BUILD)/bench/retrieval $(BUILD)/bench/venv/ready
	$< 256 1000000 128 8 random
	$< 256 1000000 128 8 clusters
	$< 256 1000000 128 1000 random
	$< 256 1000000 128 1000 clusters
	$< 256 1000000 128 8 random fp16
	$< 32 1000000 128 8 random
	$(BUILD)/bench/venv/bin/python tests/bench/retrieval_peers.py 32 1000000 128 8
