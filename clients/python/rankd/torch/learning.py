# SPDX-License-Identifier: Apache-2.0
"""Detects a training in which nothing can be learnt: its loss may stay at 0, which looks like
success."""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import torch

from ..results import LossInfo
from .warn import warn

STEPS = 20  # in a row, before the warning
_STALLED_SHARE = 0.95  # of the valid lists; near 0 on a healthy run

NO_RELEVANT, NO_IRRELEVANT, STALLED, NO_FACTOR = "no relevant", "no irrelevant", "stalled", "no factor"

_SCORES = {
    NO_RELEVANT: "no list had a relevant item. Targets are 1 for relevant, 0 for irrelevant, -1 for not there: look whether "
                 "any is 1, and whether lists are the rows (axis=1) or the columns (axis=0)",
    NO_IRRELEVANT: "no list that had a relevant item had an irrelevant one too. An irrelevant item's target is 0; -1 means that "
                   "the item is not there, so labels of -1 and +1 must become 0 and 1: targets = (labels > 0)",
}
_CLASSES = {
    NO_RELEVANT: "no class had an object. Targets are 1 where a place finds an object of that class, 0 where not, -1 where it is "
                 "ignored: look whether any is 1, and whether the last axis is the classes",
    NO_IRRELEVANT: "no class that had an object had a place without one too. Such a place's target is 0; -1 means that it is "
                   "ignored",
}
_EMBEDDINGS = {
    NO_RELEVANT: "no query had an item of its own label to find. Draw batches with several items of each label, or rank with a "
                 "bank; items with the label -1 and those with the query's own id don't count",
    NO_IRRELEVANT: "all items had one label, so that there was nothing to tell apart. Look at the labels, and at how batches "
                   "are drawn",
}
_BOTH = {
    STALLED: "nearly every list had a loss but no irrelevant item that moved. {why}",
    NO_FACTOR: "avg_factor was 0, though there were lists that have something to find. It is their number over all trainers",
}
_WIDE_MARGIN = ("The scores lie closer together than the margin ({margin:g}): use a smaller margin, a longer margin_warmup, or a "
                "larger lambda_val")
_NO_MARGIN = "There is no margin that could be too wide: use a larger lambda_val, and look whether many scores are equal"


class Learning:
    """Counts consecutive training steps from which nothing can be learnt, and warns once per
    loss."""

    def __init__(self, sentences: Mapping[str, str]) -> None:
        self.sentences = {**_BOTH, **sentences}
        self.streak = 0
        self.reasons: Counter[str] = Counter()
        self.warned = False

    @classmethod
    def of_scores(cls) -> Learning:
        return cls(_SCORES)

    @classmethod
    def of_classes(cls) -> Learning:
        return cls(_CLASSES)

    @classmethod
    def of_embeddings(cls) -> Learning:
        return cls(_EMBEDDINGS)

    def load(self, streak: int) -> None:
        """Restores the count from a state."""
        self.streak, self.reasons = streak, Counter()

    def saw(self, reason: str | None, margin: float) -> None:
        """Counts a training step; `reason` is None if something could be learnt."""
        if reason is None:
            self.load(0)
            return
        self.streak += 1
        self.reasons[reason] += 1
        if self.streak >= STEPS and not self.warned:
            self.warned = True
            why = _NO_MARGIN if margin == 0 else _WIDE_MARGIN.format(margin=margin)
            found = "; ".join(f"in {count} {'step' if count == 1 else 'steps'} "
                              f"{self.sentences[name].format(why=why)}" for name, count in self.reasons.most_common())
            warn(f"nothing is learnt, for {self.streak} training steps now: {found}")


def reason_for(info: LossInfo, loss: float, pairs: Callable[[], bool], uncounted: bool = False) -> str | None:
    """The reason why nothing can be learnt from an answered step; None if something can. `loss` is
    before any factor. `pairs` tells whether any list of the batch has a relevant and an irrelevant
    item; only called if nothing else decides. `uncounted`: avg_factor was 0."""
    if info.lists_valid == 0:
        return NO_RELEVANT
    if info.lists_stalled is not None and info.lists_stalled >= _STALLED_SHARE * info.lists_valid:
        return STALLED
    if loss == 0 and not info.gradient_nonzero and not pairs():
        return NO_IRRELEVANT
    return NO_FACTOR if uncounted else None


def pairs_in_scores(targets: torch.Tensor, axis: int, interclass: float) -> bool:
    """True if a list has both kinds of items. With interclass all items together are a list too."""
    relevant, irrelevant = targets > 0, targets == 0
    if interclass > 0:
        return bool(relevant.any()) and bool(irrelevant.any())
    return bool((relevant.any(axis) & irrelevant.any(axis)).any())


def only_label(*labels: torch.Tensor | None) -> int | None:
    """The label of all items; None if there are several, or none."""
    seen = {int(label) for given in labels if given is not None for label in given.detach().unique().tolist()}
    return seen.pop() if len(seen) == 1 else None
