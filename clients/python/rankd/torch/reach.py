# SPDX-License-Identifier: Apache-2.0
"""Detects problems that a count over all lists hides: single lists that are stalled while others
learn, and a perturbation that changes almost no ranks."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..results import LossInfo, LossResult
from .warn import warn

LIST_STEPS = 20  # valid ones in a row in which a list is stalled, before the warning
REACH_STEPS = 50  # in a row
LEAST_REACH = 0.01  # pairs that change places, per relevant item
_LEARNT = 0.05  # at a mean loss of this or less few pairs are left that could change places


class ListWatch:
    """Counts for each list the valid training steps in a row in which it was stalled, and warns
    once for each. For lists that are the same from step to step, such as classes."""

    def __init__(self) -> None:
        self._streak: NDArray[np.int64] = np.zeros(0, np.int64)
        self._told: NDArray[np.bool_] = np.zeros(0, np.bool_)

    def saw(self, result: LossResult) -> None:
        """Counts a training step, from list_loss and list_stalled of its answer."""
        if result.list_loss is None or result.list_stalled is None:
            return
        if self._streak.shape != result.list_loss.shape:
            self._streak, self._told = np.zeros(len(result.list_loss), np.int64), np.zeros(len(result.list_loss), np.bool_)
        valid = ~np.isnan(result.list_loss)
        self._streak[valid] = np.where(result.list_stalled[valid], self._streak[valid] + 1, 0)
        if result.list_stalled[valid].all():  # the warning about all lists covers this
            return
        new = np.flatnonzero((self._streak >= LIST_STEPS) & ~self._told)
        if len(new):
            self._told[new] = True
            _tell(new)


def _tell(lists: NDArray[np.int64]) -> None:
    names = ", ".join(map(str, lists[:10])) + (f" and {len(lists) - 10} more" if len(lists) > 10 else "")
    warn(f"{'list' if len(lists) == 1 else 'lists'} {names} (from 0; classes, with axis=0) learnt nothing in {LIST_STEPS} "
         "training steps in a row that had something to find, while others did: there is a loss, and no irrelevant item that the "
         "perturbation passes. Use gradient_scale='unit', so that rare lists are not drowned by frequent ones, a larger "
         "lambda_val, or a smaller margin")


class Reach:
    """Counts consecutive training steps in which the perturbation made almost no pair change
    places, and warns once."""

    def __init__(self) -> None:
        self.streak = 0
        self.warned = False

    def load(self, streak: int) -> None:
        """Restores the count from a state."""
        self.streak = streak

    def saw(self, info: LossInfo, mean_loss: float, lambda_val: float) -> None:
        """Counts a training step; `mean_loss` is the mean over valid lists."""
        if info.pairs_jumped is None or info.lists_valid == 0:
            return
        self.streak = self.streak + 1 if info.pairs_jumped < LEAST_REACH and mean_loss > _LEARNT else 0
        if self.streak < REACH_STEPS or self.warned:
            return
        self.warned = True
        bank = (f" The {info.bank_items} items of the bank make the lists long: give it a later bank_start, too."
                if info.bank_items else "")
        warn(f"the perturbation reaches next to nothing, for {self.streak} training steps now: {info.pairs_jumped:.2g} pairs "
             f"change places for each relevant item, at a mean loss of {mean_loss:.2g}, so nothing can be learnt. A longer list "
             f"needs a larger lambda_val than {lambda_val:g}; try 10 and 100 times as much.{bank}")
