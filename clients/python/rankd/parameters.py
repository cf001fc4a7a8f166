# SPDX-License-Identifier: Apache-2.0
"""Checks parameters against the daemon's own table when an object is made that will send them with
every request."""
from __future__ import annotations

import difflib
import inspect
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ._names import MODELS, ONLY_WITH, PARAMETERS, TAKEN_BY, VALUES

_NAMES = {"lambda_val": "lambda"}  # of the client's arguments, where the daemon's is another one
_OF_A_STEP = ("bank_read", "enqueue", "batch_id", "mark_stalled")  # what a loss module itself says in each request


def check(model: str, given: Mapping[str, Any], over: str) -> dict[str, Any]:
    """The given values as plain Python has them; None is not sent. ValueError or TypeError for what
    `model` does not take over lists of "scores" or over "embeddings"."""
    checked = {}
    for name, value in given.items():
        key = _NAMES.get(name, name)
        if value is None or key not in VALUES:
            checked[name] = value
            continue
        checked[name] = _value(name, value, VALUES[key])
        if model not in TAKEN_BY[key]:
            raise ValueError(f"{name} is given to {model!r}; it goes with {listed(TAKEN_BY[key])}")
        if ONLY_WITH.get(key, over) != over:
            raise ValueError(f"{name} is given to a loss of {over}; it goes with {ONLY_WITH[key]}")
    return checked


def known_model(name: str, model: Any, models: Iterable[str] = MODELS) -> str:
    """The model, if it is one of `models`. `name`: of the argument."""
    if not isinstance(model, str) or model not in models:
        raise ValueError(f"{name} is {model!r}; it may be {', '.join(map(repr, models))}")
    return model


def unexpected(where: str, name: str, *functions: Any) -> TypeError:
    """The error of a call of `where` with an argument that neither the functions nor the daemon's
    tables name, with the nearest name that one of them has."""
    known = [argument for function in functions for argument in inspect.signature(function).parameters]
    near = difflib.get_close_matches(name, [*(key for key in PARAMETERS if key != "lambda"), *known], 1)
    if name == "lambda":  # which is no name in Python
        near = ["lambda_val"]
    return TypeError(f"{where} got an unexpected keyword argument {name!r}{f'; did you mean {near[0]!r}?' if near else ''}")


def expect_parameters(given: Iterable[str], *classes: type) -> None:
    """Whether these are names of the daemon's parameters that a loss module, the first of the
    classes, leaves to its user."""
    for name in given:
        if name in _OF_A_STEP:
            raise TypeError(f"{name} is given to {classes[0].__name__}, which itself says in each step what it is")
        if name != "lambda_val" and (name not in PARAMETERS or name == "lambda"):
            raise unexpected(f"{classes[0].__name__}()", name, *classes)


def expect_arguments(given: Iterable[str], own: type, target: type) -> None:
    """Whether `target`, a loss module to which the class `own` passes them on, takes these
    arguments."""
    known = inspect.signature(target).parameters
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
    for name in given:
        if name not in known and not (open_ended and name in PARAMETERS):
            raise unexpected(f"{own.__name__}()", name, own, target)


def number(name: str, value: Any) -> float:
    """A finite number of any kind, a tensor with one too."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or value is None:
        raise TypeError(f"{name} is {value!r}; it must be a number")
    try:
        plain = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} is {str(value)[:60]}; it must be one number") from None
    if not math.isfinite(plain):
        raise ValueError(f"{name} is {plain:g}; it must be a finite number")
    return plain


def whole(name: str, value: Any, least: int, what: str = "a whole number") -> int:
    """A whole number of `least` or more, of numpy's types too."""
    try:
        plain = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        plain = None
    if plain is None or plain < least:
        raise ValueError(f"{name} is {value!r}; it must be {what}, {least} or more")
    return plain


def listed(words: Iterable[Any]) -> str:
    """'a', 'b' or 'c'."""
    *most, last = map(repr, words)
    return f"{', '.join(most)} or {last}" if most else last


def _value(name: str, value: Any, allowed: Any) -> Any:
    if allowed is bool:
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} is {value!r}; it must be True or False")
        return bool(value)
    if allowed is str:
        if not isinstance(value, str):
            raise TypeError(f"{name} is {value!r}; it must be a text")
        return value
    if isinstance(allowed[0], str):
        return _word(name, value, allowed)
    least, most = allowed
    plain = number(name, value)
    if isinstance(least, int) and plain != math.floor(plain) or not least <= plain <= most:
        kind = f"whole number from {least} to {most}" if isinstance(least, int) else f"number from {least:g} to {most:g}"
        raise ValueError(f"{name} is {value!r}; it must be a {kind}")
    return int(plain) if isinstance(least, int) else plain


def _word(name: str, value: Any, words: tuple[str, ...]) -> Any:
    """One of the words; those that are digits are numbers in Python."""
    plain: Any = value.item() if isinstance(value, np.generic) else value
    allowed = [int(word) if word.isdigit() else word for word in words]
    if isinstance(plain, bool) or plain not in allowed:
        raise ValueError(f"{name} is {value!r}; it may be {listed(allowed)}")
    return plain
