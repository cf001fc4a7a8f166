# SPDX-License-Identifier: Apache-2.0
"""Names in paths."""
from __future__ import annotations

from .errors import NotFound


def segment(kind: str, name: str) -> str:
    """The name as a segment of a path. NotFound for a name that would lead to another path; the
    daemon applies the full, stricter rule."""
    if not isinstance(name, str) or not name or name in (".", "..") or not all(c.isalnum() or c in "._-" for c in name):
        raise NotFound(f"{kind} is {name!r}; names are of letters, digits, '.', '_' and '-'")
    if not name.isascii():
        raise NotFound(f"{kind} is {name!r}; names are of ASCII letters, digits, '.', '_' and '-'")
    return name
