"""Keeping torch.compile out: a call to the daemon is no operation that a compiler could trace."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])


def untraced(function: F) -> F:
    """The function, run as it stands from within compiled code too. Traced, it would be compiled anew in each step whose
    numbers (a margin that grows, a batch's name) are others, up to the compiler's limit."""
    if not hasattr(torch, "compile"):  # before torch 2
        return function
    namespace: Any = getattr(torch, "compiler", None)
    disable = getattr(namespace, "disable", None)
    if disable is None:  # torch 2.0
        import torch._dynamo as dynamo

        disable = dynamo.disable
    disabled: F = disable(function)
    return disabled
