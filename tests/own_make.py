# SPDX-License-Identifier: Apache-2.0
"""The environment of a make that a test starts."""
import os

# What the make that runs the tests has on its command line, and passes on: its build, and flags of
# a sanitizer.
FOREIGN = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "BUILD", "SANITIZE", "CFLAGS", "CXXFLAGS", "LDFLAGS", "CC", "CXX")


def environment(**more):
    """The surroundings without what belongs to another make, and with `more`."""
    return {name: value for name, value in os.environ.items() if name not in FOREIGN} | more
