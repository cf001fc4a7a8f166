# SPDX-License-Identifier: Apache-2.0
# librankd, the C client: shared and static library, pkg-config file, examples, installation.
client_src := $(filter-out $(if $(filter 0,$(HTTP_CLIENT)),clients/c/http%.c),$(wildcard clients/c/*.c))
client_soname := librankd.so.0
client_so := $(BUILD)/librankd.so.$(VERSION)
client_examples := $(patsubst clients/c/examples/%.c,$(BUILD)/examples/%,$(wildcard clients/c/examples/*.c))

$(BUILD)/obj/clients/c/%.o: pic = -fPIC

$(BUILD)/librankd.a: $(call objects,$(client_src))
	@rm -f $@
	$(AR) rcs $@ $^
$(client_so): $(call objects,$(client_src)) clients/c/librankd.map
	$(link) -shared -Wl,-soname,$(client_soname) -Wl,--version-script=clients/c/librankd.map -Wl,-z,defs \
	    $(filter %.o,$^) $(client_libs) -o $@
	ln -sf $(notdir $@) $(BUILD)/$(client_soname)
	ln -sf $(client_soname) $(BUILD)/librankd.so
$(BUILD)/librankd.pc: clients/c/librankd.pc.in clients/python/rankd/VERSION
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' $< >$@

# A page's first line after NAME lists its functions; each has a link to it, so that `man
# rankd_wait` finds the group's page.
man3 := $(wildcard clients/c/man/*.3)
$(BUILD)/man3/ready: $(man3) clients/python/rankd/VERSION clients/librankd.mk
	rm -rf $(@D)
	mkdir -p $(@D)
	for page in $(man3); do \
	    sed -e 's|@VERSION@|$(VERSION)|' $$page >$(@D)/$${page##*/} || exit 1; \
	    for name in $$(sed -n -e '/^\.SH NAME/{n;s/ \\-.*//;s/,//g;p;q}' $$page); do \
	        [ -e clients/c/man/$$name.3 ] || echo ".so man3/$${page##*/}" >$(@D)/$$name.3 || exit 1; \
	    done; \
	done
	touch $@

# One example is linked as a user would link it, the other into one file.
$(BUILD)/examples/%: $(BUILD)/obj/clients/c/examples/%.o $(client_so)
	@mkdir -p $(@D)
	$(link) $< -L$(BUILD) -lrankd -Wl,-rpath,'$$ORIGIN/..' -o $@

.PHONY: librankd librankd-shared install-librankd
librankd-shared: $(client_so)
librankd: $(BUILD)/librankd.a $(client_so) $(BUILD)/librankd.pc $(BUILD)/man3/ready $(client_examples)
all: librankd

install: install-librankd
install-librankd: librankd
	install -d $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/share/man/man3
	install -m 644 $(BUILD)/librankd.a $(client_so) $(DESTDIR)$(PREFIX)/lib
	ln -sf $(notdir $(client_so)) $(DESTDIR)$(PREFIX)/lib/$(client_soname)
	ln -sf $(client_soname) $(DESTDIR)$(PREFIX)/lib/librankd.so
	install -m 644 $(BUILD)/librankd.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig
	install -m 644 clients/c/rankd.h proto/rankd_status.h proto/rankd_types.h proto/rankd_ports.def proto/rankd_numbers.def proto/rankd_shm.h $(DESTDIR)$(PREFIX)/include
	install -m 644 $(BUILD)/man3/*.3 $(DESTDIR)$(PREFIX)/share/man/man3
