# SPDX-License-Identifier: Apache-2.0
"""Names in paths."""
from __future__ import annotations

from .errors import NotFound


def segment(kind: str, name: str) -> str:
    """Guards a path against names that would lead elsewhere. The daemon has the full rule; this is its safe superset."""
    if not isinstance(name, str) or not name or name in (".", "..") or not all(c.isalnum() or c in "._-" for c in name):
        raise NotFound(f"{kind} is {name!r}; names are of letters, digits, '.', '_' and '-'")
    if not name.isascii():
        raise NotFound(f"{kind} is {name!r}; names are of ASCII letters, digits, '.', '_' and '-'")
    return name
