# SPDX-License-Identifier: Apache-2.0
"""Calls to the daemon under torch.compile, which can't trace them: they are one operator if torch
supports custom operators (operators.py), and otherwise excluded from compilation."""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])


def untraced(function: F) -> F:
    """The function, run uncompiled from compiled code too. Traced, it would be recompiled in each
    step with new values (a growing margin, a batch id), up to the limit of the compiler."""
    if not hasattr(torch, "compile"):  # before torch 2
        return function
    namespace: Any = getattr(torch, "compiler", None)
    disable = getattr(namespace, "disable", None)
    if disable is None:  # torch 2.0
        import torch._dynamo as dynamo

        disable = dynamo.disable
    disabled: F = disable(function)
    return disabled


def traceable(ready: bool, fits: Callable[..., bool]) -> Callable[[F], F]:
    """A decorator for a function that calls an operator when it is traced. The function is excluded
    from compilation unless `ready`, and in calls for whose arguments `fits` is false."""

    def decorate(function: F) -> F:
        apart = untraced(function)
        if not ready:
            return apart

        @functools.wraps(function)
        def run(*arguments: Any, **named: Any) -> Any:
            if torch.compiler.is_compiling() and not fits(*arguments, **named):
                return apart(*arguments, **named)
            return function(*arguments, **named)

        return run  # type: ignore[return-value]

    return decorate
