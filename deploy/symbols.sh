#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints deploy/debian/librankd0.symbols from the library's version script: each symbol with its
# version node, and the release from which on the library has it.
#   symbols.sh SONAME < clients/c/librankd.map
set -eu
printf '%s %s #MINVER#\n' "$1" "$(echo "$1" | sed 's/\.so\.//')"
awk '/^RANKD_/ {node = $1; since = $(NF - 1); print " " node "@" node " " since}
     /^ +rankd_/ {sub(";", "", $1); print " " $1 "@" node " " since}'
