# SPDX-License-Identifier: Apache-2.0
"""The C client for Python."""
import os
import subprocess
from pathlib import Path

import own_make

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()


def library():
    """The path of a librankd that Python can load. A sanitizer's runtime can't be loaded into a
    Python without it, so with such a build the plain library is tested against its daemon."""
    ours = BUILD / "librankd.so.0"
    if not ours.exists() or not any(name in ours.read_bytes() for name in (b"__asan_init", b"__tsan_init")):
        return ours
    plain = ROOT / "build/librankd.so.0"
    if not plain.exists():
        subprocess.run(["make", "librankd-shared"], cwd=ROOT, check=True, capture_output=True, env=own_make.environment())
    return plain


def variables():
    """The environment of a process that loads the library; empty if the package finds it by itself,
    so that this is tested."""
    return {} if library() == BUILD / "librankd.so.0" else {"RANKD_LIBRARY": str(library())}
