# A batch of embeddings against a large bank, beside the bare product.
$(BUILD)/bench/retrieval: $(BUILD)/obj/tests/bench/retrieval.o $(BUILD)/librk.a
	@mkdir -p $(@D)
	$(link) $^ $(lib_libs) -o $@

.PHONY: bench-retrieval
bench: bench-retrieval
bench-retrieval: $(BUILD)/bench/retrieval
	$< 256 1000000 128 8 random
	$< 256 1000000 128 8 clusters
	$< 256 1000000 128 1000 random
	$< 256 1000000 128 1000 clusters
