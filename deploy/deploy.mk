# SPDX-License-Identifier: Apache-2.0
# Files generated from the tables (man pages, completion, example configuration, reference),
# installation, packaging, and the tests that need a container engine.
$(BUILD)/obj/deploy/%.o: include = -Iserver -Ilib -Iproto -Iclients/ctl

gen_src := $(wildcard deploy/gen/*.c)
$(BUILD)/gen: $(call objects,$(gen_src))
	$(link) $^ -o $@

pages := rankd.8 rankd.conf.5 rankctl.1 rankd.bash rankctl.bash rankd.conf
reference := configuration.md tuning.md parameters.md metrics.md routes.md rankctl.md models.md
$(addprefix $(BUILD)/pages/,$(pages)): $(BUILD)/pages/%: $(BUILD)/gen
	@mkdir -p $(@D)
	$(BUILD)/gen $* > $@

.PHONY: reference pages install-deploy check-deploy deb
pages: $(addprefix $(BUILD)/pages/,$(pages))
all: pages

# docs/reference, the names in proto/openapi.yaml and those of the Python package are kept in the
# repository, so that they can be read and used there; a test compares.
reference: $(BUILD)/gen
	@mkdir -p docs/reference
	for page in $(reference); do $(BUILD)/gen $$page > docs/reference/$$page || exit 1; done
	$(BUILD)/gen _names.py > clients/python/rankd/_names.py
	$(BUILD)/gen openapi.yaml > $(BUILD)/openapi.yaml && cp $(BUILD)/openapi.yaml proto/openapi.yaml

# Likewise the symbols of librankd, which Debian's tools compare with the library when the package
# is built.
.PHONY: symbols
symbols:
	deploy/symbols.sh $(client_soname) < clients/c/librankd.map > deploy/debian/librankd0.symbols

install: install-deploy
install-deploy: pages
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 644 $(BUILD)/pages/rankctl.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 $(BUILD)/pages/rankd.conf.5 $(DESTDIR)$(PREFIX)/share/man/man5/
	install -m 644 $(BUILD)/pages/rankd.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions
	install -m 644 $(BUILD)/pages/rankd.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/rankd
	install -m 644 $(BUILD)/pages/rankctl.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/rankctl

# build/deb/*.deb, from the files that git knows.
deb:
	deploy/deps.sh build deploy
	rm -rf $(BUILD)/deb
	mkdir -p $(BUILD)/deb/rankd-$(VERSION)
	git ls-files -z | xargs -0 cp --parents -t $(BUILD)/deb/rankd-$(VERSION)
	cp -r deploy/debian $(BUILD)/deb/rankd-$(VERSION)/debian
	cp deploy/systemd/rankd.service $(BUILD)/deb/rankd-$(VERSION)/debian/
	cd $(BUILD)/deb/rankd-$(VERSION) && DEB_BUILD_OPTIONS='parallel=2 noautodbgsym' dpkg-buildpackage -us -uc -b
	@ls $(BUILD)/deb/*.deb

# Needs root, and Linux with namespaces, overlayfs and cgroups of version 2. It starts a container
# engine, and boots a bare Debian with the packages; both end with it, even if it is killed.
check-deploy: all $(venv)/ready
	deploy/deps.sh build test deploy
	$(venv)/bin/python tests/run.py --build $(BUILD) --pytest tests/deploy

# A checked source tarball of the last commit; publishes nothing.
.PHONY: release
release:
	BUILD=$(BUILD) deploy/release.sh
