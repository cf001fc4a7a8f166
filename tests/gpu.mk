# What wants a card. Anywhere else it says that it was skipped.
$(BUILD)/gpu-check: $(BUILD)/obj/tests/gpu/check.o $(BUILD)/librk.a
	$(link) $^ -Wl,--as-needed $(lib_libs) -o $@

.PHONY: check-gpu
check-gpu: cuda $(BUILD)/gpu-check
	tests/gpu/run.sh $(BUILD)
