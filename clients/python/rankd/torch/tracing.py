# SPDX-License-Identifier: Apache-2.0
"""Excludes calls to the daemon from torch.compile, which can't trace them."""
from __future__ import annotations

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
