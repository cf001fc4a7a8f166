# rankctl: sees proto/ and the C client only.
$(BUILD)/obj/clients/ctl/%.o: include = -Iproto -Iclients/c

ctl_src := $(wildcard clients/ctl/*.c)
$(BUILD)/rankctl: $(call objects,$(ctl_src)) $(BUILD)/librankd.a
	$(link) $^ -Wl,--as-needed -lcurl -ljansson -lm -o $@

.PHONY: install-ctl
all: $(BUILD)/rankctl
install: install-ctl
install-ctl: $(BUILD)/rankctl
	install -D -m 755 $(BUILD)/rankctl $(DESTDIR)$(PREFIX)/bin/rankctl
