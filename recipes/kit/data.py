# SPDX-License-Identifier: Apache-2.0
"""Finds the data sets, which are not part of the project.

A file is searched below $RANKD_RECIPE_DATA, then in build/recipes/data; otherwise it is fetched
from its public place into the latter, and kept only if it has the expected SHA-256.
"""
from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path

from . import ROOT

FETCHED = ROOT / "build" / "recipes" / "data"
_PATIENCE_S = 60


class MissingData(Exception):
    """A data set is missing and could not be fetched; the sentence says from where."""


def find(name: str, url: str | None = None, sha256: str | None = None) -> Path:
    """The path of the file or folder `name`, relative to the data folder ("omniglot/x.zip").
    Fetches a file that is not there from `url`. Raises MissingData."""
    given = os.environ.get("RANKD_RECIPE_DATA")
    for folder in ([Path(given)] if given else []) + [FETCHED]:
        if (folder / name).exists():
            return folder / name
    if url is None or sha256 is None:
        raise MissingData(f"{name} is not below RANKD_RECIPE_DATA ({given or 'not set'}) nor below {FETCHED}")
    return _fetch(FETCHED / name, url, sha256)


def _fetch(path: Path, url: str, sha256: str) -> Path:
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE_S) as answer:
            content = answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise MissingData(f"{path.name} could not be fetched from {url}: {error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise MissingData(f"{url} has the SHA-256 {found}; {sha256} was expected, so the file was not kept")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)
    return path
