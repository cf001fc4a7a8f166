# SPDX-License-Identifier: Apache-2.0
# rankd. `make help` lists the targets; each folder keeps its own rules in its *.mk.
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DEFAULT_GOAL := all

BUILD ?= build
venv := build/venv
PREFIX ?= /usr/local
DESTDIR ?=
# 0: librankd and rankctl without libcurl; they then speak over the daemon's socket only.
HTTP_CLIENT ?= 1
ifeq ($(origin CC),default)
CC := gcc
endif
CFLAGS ?= -O2 -g
# The version is in one file: the Python package contains it, and everything else reads it from
# there.
VERSION := $(strip $(file <clients/python/rankd/VERSION))

# What the code relies on is not in CFLAGS, so that `make CFLAGS=…` can't lose it. No contraction
# into FMA and no fast-math: results are promised to the bit.
warnings := -Wall -Wextra -Wconversion -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings
language := -std=c17 -D_GNU_SOURCE -DRK_VERSION='"$(VERSION)"' -ffp-contract=off -fno-fast-math -fvisibility=hidden -pthread
hardening := -fstack-protector-strong
ifneq ($(SANITIZE),)
sanitize := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all -DRK_DEBUG
else
hardening += -D_FORTIFY_SOURCE=2
endif
compile = $(CC) $(language) $(warnings) $(hardening) $(sanitize) $(CFLAGS) $(isa) $(pic) $(include) -MMD -MP

# The suffix picks the instruction set.
%_avx2.o: isa := -mavx2 -mfma -mbmi -mbmi2 -mlzcnt -mf16c -mpopcnt
%_avx512.o: isa := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mbmi -mbmi2 -mlzcnt -mf16c -mpopcnt

# Include paths enforce the layers: server -> lib -> proto, clients -> proto.
$(BUILD)/obj/lib/%.o: include = -Iproto -Ilib
$(BUILD)/obj/server/%.o: include = -Iproto -Ilib -Iserver
$(BUILD)/obj/clients/%.o: include = -Iproto -Iclients/c $(client_options)
$(BUILD)/obj/tests/%.o: include = -Iproto -Ilib -Iserver -Iclients/c -Itests

$(BUILD)/obj/%.o: %.c Makefile clients/python/rankd/VERSION
	@mkdir -p $(@D)
	$(compile) -c $< -o $@

lib_src := $(wildcard lib/*.c lib/*/*.c)
server_src := $(filter-out server/main.c,$(wildcard server/*.c server/*/*.c))
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

$(BUILD)/librk.a: $(call objects,$(lib_src))
	@rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/librk-server.a: $(call objects,$(server_src))
	@rm -f $@
	$(AR) rcs $@ $^

ifeq ($(HTTP_CLIENT),0)
client_options := -DRANKD_WITHOUT_HTTP
client_libs := -ljansson -lm
else
client_libs := -lcurl -ljansson -lm
endif
link = $(CC) -pthread $(sanitize) $(LDFLAGS)
lib_libs := -ldl -lm
server_libs := -lmicrohttpd -ljansson -linih -luring -lz -lgnutls -lxxhash $(lib_libs)

# libmicrohttpd receives, and clears its memory, through server/http/guard.c: three names are
# changed in a copy of the static library.
$(BUILD)/libmicrohttpd.a: Makefile
	@mkdir -p $(@D)
	objcopy --redefine-sym recv=rk_guard_recv --redefine-sym gnutls_record_recv=rk_guard_record_recv \
	    --redefine-sym memset=rk_guard_clear $$($(CC) -print-file-name=libmicrohttpd.a) $@

$(BUILD)/rankd: $(BUILD)/obj/server/main.o $(BUILD)/librk-server.a $(BUILD)/librk.a $(BUILD)/libmicrohttpd.a
	$(link) $^ -Wl,--as-needed $(server_libs) -o $@

.PHONY: all help check lint asan tsan bench soak demo run install clean deps
all: $(BUILD)/rankd

# A part extends a general target by naming it: `bench: bench-engine`, `soak: soak-bank`, `install:
# install-client`.
include $(wildcard */*.mk tests/bench/*.mk) lib/cuda/cuda.mk server/api/page.mk server/bank_store/bank_store.mk

help:
	@echo 'make            build the daemon and the libraries into $(BUILD)/'
	@echo 'make demo       install what is missing, build, train two trainers against the daemon, show the table and plot'
	@echo 'make check      install what is missing, build, run every test'
	@echo 'make run        start the daemon with its defaults'
	@echo 'make install    PREFIX=$(PREFIX) DESTDIR=$(DESTDIR)'
	@echo 'make lint       formatting, clang-tidy, cppcheck, prefixes, headers alone'
	@echo 'make asan tsan  the tests under AddressSanitizer + UBSan, ThreadSanitizer'
	@echo 'make soak       the long forms of what check does in short'
	@echo 'make bench      the figures, beside their peers'
	@echo 'make recipes    trains on real data against other losses, for hours; RECIPE_SEEDS, RECIPE_SECONDS for less'
	@echo 'make cuda       the plugin for NVIDIA GPUs, build/rankd-cuda.so; wants the CUDA toolkit'
	@echo 'make release    checks that the last commit is fit for release, and makes its tarball'
	@echo 'make wheel      the Python package with daemon and rankctl in it, into $(BUILD)/wheel/'
	@echo 'make deb        the Debian packages, into $(BUILD)/deb/'
	@echo 'make check-clients other clients of the protocol, as they come from PyPI'
	@echo 'make check-wheel the wheel on bare Debian 12 and 13; wants root'
	@echo 'make check-deploy the packages on a bare Debian that boots, the containers, the status page; wants root'
	@echo 'make check-gpu  the engine on a device against the CPU engine; says so where there is none'

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
