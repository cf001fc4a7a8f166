# SPDX-License-Identifier: Apache-2.0
"""Warnings at the line of the training script, from any depth below calls of torch."""
from __future__ import annotations

import sys
import warnings
from types import FrameType

_BETWEEN = ("rankd", "torch", "pytorch_metric_learning")


def warn(sentence: str) -> None:
    """A RuntimeWarning at the nearest caller that is neither rankd nor torch, nor a library that
    calls an adapter."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(f"rankd: {sentence}", RuntimeWarning, stacklevel=level)
