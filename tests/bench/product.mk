# SPDX-License-Identifier: Apache-2.0
# The product of embeddings by our kernels, beside OpenBLAS.
$(BUILD)/bench/product: $(BUILD)/obj/tests/bench/product.o $(BUILD)/librk.a
	@mkdir -p $(@D)
	$(link) $^ -lopenblas $(lib_libs) -o $@

.PHONY: bench-product
bench: bench-product
bench-product: $(BUILD)/bench/product
	$<
