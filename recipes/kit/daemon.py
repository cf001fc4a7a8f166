# SPDX-License-Identifier: Apache-2.0
"""A daemon for the recipes."""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rankd

from . import ROOT


@contextmanager
def daemon() -> Iterator[rankd.Client]:
    """Starts build/rankd with its socket and banks in a folder that is removed at the end; a client
    over shared memory. With RANKD_URL set, a client of that daemon."""
    if os.environ.get("RANKD_URL"):
        with rankd.connect() as client:
            yield client
        return
    build = Path(os.environ.get("RANKD_BUILD") or ROOT / "build").resolve()
    os.environ.setdefault("RANKD_LIBRARY", str(build / "librankd.so.0"))
    with tempfile.TemporaryDirectory(prefix="rankd-recipes-") as folder:
        with open(f"{folder}/log", "wb") as log:
            process = subprocess.Popen([build / "rankd", "--http", "127.0.0.1:0", "--socket", f"{folder}/ring",
                                        "--data", f"{folder}/data"], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            if not process.stdout.readline().startswith("listening on "):
                sys.exit(f"the daemon did not start:\n{Path(folder, 'log').read_text()}")
            with rankd.connect(f"unix:{folder}/ring") as client:
                yield client
        finally:
            process.terminate()
            process.wait(60)
