# SPDX-License-Identifier: Apache-2.0
"""The C client for Python."""
import os
import subprocess
from pathlib import Path

import own_make

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()


def library():
    """A sanitizer's runtime can't be loaded into a Python that is not built with it: there, the plain library against
    the daemon under test."""
    ours = BUILD / "librankd.so.0"
    if not ours.exists() or not any(name in ours.read_bytes() for name in (b"__asan_init", b"__tsan_init")):
        return ours
    plain = ROOT / "build/librankd.so.0"
    if not plain.exists():
        subprocess.run(["make", "librankd-shared"], cwd=ROOT, check=True, capture_output=True, env=own_make.environment())
    return plain


def variables():
    """What a process that loads the library needs; nothing where the package finds it by itself, which is tried so."""
    return {} if library() == BUILD / "librankd.so.0" else {"RANKD_LIBRARY": str(library())}
