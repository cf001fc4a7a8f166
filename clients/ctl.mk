# SPDX-License-Identifier: Apache-2.0
# rankctl: sees proto/ and the C client only.
$(BUILD)/obj/clients/ctl/%.o: include = -Iproto -Iclients/c $(client_options)

# All but main(), so that tests and fuzzing can link it.
ctl_without := clients/ctl/main.c $(if $(filter 0,$(HTTP_CLIENT)),clients/ctl/http_curl.c)
ctl_src := $(filter-out $(ctl_without),$(wildcard clients/ctl/*.c))
$(BUILD)/librankctl.a: $(call objects,$(ctl_src))
	@rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/rankctl: $(BUILD)/obj/clients/ctl/main.o $(BUILD)/librankctl.a $(BUILD)/librankd.a
	$(link) $^ -Wl,--as-needed $(client_libs) -lz -o $@

.PHONY: install-ctl
all: $(BUILD)/rankctl
install: install-ctl
install-ctl: $(BUILD)/rankctl
	install -D -m 755 $(BUILD)/rankctl $(DESTDIR)$(PREFIX)/bin/rankctl
