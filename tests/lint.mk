# SPDX-License-Identifier: Apache-2.0
# make lint: formatting, clang-tidy, cppcheck, every header alone, the wall clock, prefixes of
# external names, clang as second compiler.
lint_c := $(shell git ls-files '*.c' 2>/dev/null)
lint_h := $(shell git ls-files '*.h' 2>/dev/null)
lint_cuda := $(shell git ls-files '*.cu' '*.cuh' '*.cc' 2>/dev/null)
lint_own := $(filter-out tests/%,$(lint_c))
lint_include := -Iproto -Ilib -Iserver -Iclients/c -Iclients/ctl -Ideploy/gen -Itests

.PHONY: lint-all lint-layers lint-prose lint-format lint-tidy lint-cppcheck lint-headers lint-device lint-prefix lint-clock lint-clang format
lint:
	deploy/deps.sh build test lint
	$(MAKE) -j2 lint-all

lint-all: lint-layers lint-prose lint-format lint-tidy lint-cppcheck lint-headers lint-device lint-prefix lint-clock lint-clang

format:
	clang-format -i $(lint_c) $(lint_h) $(lint_cuda)

lint-format:
	clang-format --dry-run --Werror $(lint_c) $(lint_h) $(lint_cuda)

# One stamp per file: only changed files are checked again.
lint-tidy: $(patsubst %.c,$(BUILD)/tidy/%.ok,$(lint_own))
$(BUILD)/tidy/%.ok: %.c .clang-tidy
	@mkdir -p $(@D)
	@out=$$(clang-tidy --quiet $< -- $(language) $(lint_include) $(if $(findstring _avx512,$<),-mavx512f -mavx512bw -mavx512vl -mavx512dq -mbmi -mbmi2 -mlzcnt -mf16c -mfma) $(if $(findstring _avx2,$<),-mavx2 -mfma -mf16c -mbmi -mbmi2 -mlzcnt) 2>/dev/null) || { echo "$$out"; exit 1; }
	@touch $@

# (loss.h: cppcheck can't parse an enumeration whose rows come from an included table.)
lint-cppcheck:
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	    --suppress=missingIncludeSystem --suppress=unusedStructMember --suppress=syntaxError:lib/losses/loss.h --suppress=comparePointers:server/api/status_page.c $(lint_include) $(lint_own)

# (Without -O, intrinsics with a constant argument are macros, whose conversions would cause
# warnings.)
lint-headers:
	@for h in $(filter-out tests/gpu/emulator/%,$(lint_h)); do \
	    case $$h in *avx512*) isa='-O2 -mavx512f -mavx512bw -mavx512vl -mavx512dq';; *avx2*) isa=-mavx2;; *) isa=;; esac; \
	    printf '#include "%s"\n' "$$h" | $(CC) $(language) $(warnings) $$isa -Werror -fsyntax-only -I. $(lint_include) -x c - || { echo "$$h does not compile alone"; exit 1; }; \
	done

# What device code includes is C++ too, with or without a CUDA compiler to say so.
lint-device:
	@for h in $$(sed -n 's/^#include "\([a-z_/]*\.h\)"/\1/p' $(filter lib/%,$(lint_cuda)) | sort -u); do \
	    printf '#include "%s"\n' $$h | clang++ -std=c++17 -Wall -Werror -Wno-unused-function -fsyntax-only -Iproto -Ilib -x c++ - || { echo "$$h is not C++, and device code includes it"; exit 1; }; \
	done

# Every external name has the project's prefix.
lint-prefix: $(BUILD)/librk.a $(BUILD)/librk-server.a $(BUILD)/librankd.a $(BUILD)/librankctl.a
	@bad=$$(nm -A --defined-only --extern-only $^ 2>/dev/null | awk 'NF>=3 {print $$NF}' | grep -v -E '^(rk|rankd)_' | grep -v -E '^(__|_)' || true); \
	[ -z "$$bad" ] || { echo "external names without the prefix rk_ or rankd_:"; echo "$$bad"; exit 1; }

# Waits and durations use the monotonic clock.
lint-clock:
	tests/wall_clock.sh

# Both compilers, warnings as errors.
lint-clang:
	$(MAKE) BUILD=build/clang CC=clang CFLAGS='-O1 -Werror' CXXFLAGS='-O1 -Werror' all unit build/clang/emulated-device.so
	$(MAKE) BUILD=build/gcc-werror CC=gcc CFLAGS='-O2 -Werror' CXXFLAGS='-O2 -Werror' all unit build/gcc-werror/emulated-device.so

# Rooms depend on each other in one direction, files of a room too, a struct tag is one type, files
# are short.
lint-layers: $(BUILD)/librk.a $(BUILD)/librk-server.a $(BUILD)/librankd.a $(BUILD)/librankctl.a
	python3 tests/layers.py --objects $(BUILD)/obj

# Lines of prose have at most 100 columns; tests/prose.py --fix fills their paragraphs.
lint-prose:
	python3 tests/prose.py
