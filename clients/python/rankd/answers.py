# SPDX-License-Identifier: Apache-2.0
"""Validation of the JSON of answers, before any use."""
from __future__ import annotations

import json
import math
from typing import Any, TypeVar

from .errors import ProtocolError

T = TypeVar("T")

_REQUIRED = object()
_LARGEST = 2**63 - 1


def parse(text: bytes, what: str) -> Any:
    """The value of UTF-8 JSON. `what` names the answer in the sentence."""
    try:
        return json.loads(text.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise ProtocolError(f"{what} is not JSON: {text[:80]!r}") from error


def document(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ProtocolError(f"{what} is {brief(value)}; it must be an object")
    return value


def documents(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise ProtocolError(f"{what} is {brief(value)}; it must be an array")
    return [document(entry, f"an entry of {what}") for entry in value]


def member(owner: dict[str, Any], name: str, kind: type[T], what: str, default: Any = _REQUIRED) -> T:
    """A member of an object: an int is a non-negative whole number, a float any finite number.
    Without `default` it is required; with one, null counts as absent."""
    value = owner.get(name)
    if value is None and default is not _REQUIRED:
        return default  # type: ignore[no-any-return]
    if kind is int:
        good = type(value) is int and 0 <= value <= _LARGEST
    elif kind is float:
        good = type(value) in (int, float) and abs(value) <= _LARGEST and math.isfinite(value)  # type: ignore[arg-type]
    else:
        good = isinstance(value, kind)
    if not good:
        raise ProtocolError(f"{what} has {name} {brief(value)}; it must be {_KINDS[kind]}")
    return float(value) if kind is float else value  # type: ignore[return-value, arg-type]


def brief(value: Any) -> str:
    """The beginning of a value on one line, for a sentence."""
    return one_line(_text(value), 60)


def one_line(text: str, most: int) -> str:
    """The printable part of untrusted text, without line breaks."""
    kept = "".join(c if c.isprintable() else " " for c in text[:most + 1])
    return " ".join((kept[:most] + "…" if len(kept) > most else kept).split())


def _text(value: Any) -> str:
    if isinstance(value, (dict, list)):  # its representation may be as deep as the answer
        return "an object" if isinstance(value, dict) else "an array"
    try:
        return repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a very large number"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_KINDS: dict[type, str] = {int: "a whole number", float: "a finite number", str: "a text", bool: "true or false",
                           list: "an array", dict: "an object"}
