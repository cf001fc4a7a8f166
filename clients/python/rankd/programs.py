# SPDX-License-Identifier: Apache-2.0
"""The paths of the programs of this package."""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def places(name: str) -> Iterator[Path]:
    """Where a file of the build may be: in the folder that RANKD_BUILD names, in the wheel, in the
    source tree's build."""
    if build := os.environ.get("RANKD_BUILD"):
        yield Path(build) / name
    yield _HERE / "_bin" / name
    if len(_HERE.parents) > 2 and (_HERE.parents[2] / "proto" / "rankd_shm.h").exists():
        yield _HERE.parents[2] / "build" / name


def program(name: str, *, anywhere: bool = True) -> Path | None:
    """The program `name` ("rankd", "rankctl"); None if there is none. With `anywhere`, also one on
    PATH."""
    for path in places(name):
        if os.access(path, os.X_OK) and path.is_file():
            return path
    found = shutil.which(name) if anywhere else None
    return Path(found) if found else None
