# SPDX-License-Identifier: Apache-2.0
"""Names in paths."""
from __future__ import annotations

from .errors import InvalidRequest, NotFound


def segment(kind: str, name: str, made: bool = False) -> str:
    """Guards a path against names that would lead elsewhere. The daemon has the full rule; this is
    its safe superset. A name that is none is one of nothing (NotFound), or of what can't be
    `made`."""
    error = InvalidRequest if made else NotFound
    if not isinstance(name, str) or not name or name in (".", "..") or not all(c.isalnum() or c in "._-" for c in name):
        raise error(f"{kind} is {name!r}; names are of letters, digits, '.', '_' and '-'")
    if not name.isascii():
        raise error(f"{kind} is {name!r}; names are of ASCII letters, digits, '.', '_' and '-'")
    return name
