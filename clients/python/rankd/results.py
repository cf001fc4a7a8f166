# SPDX-License-Identifier: Apache-2.0
"""Results of a loss."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from numpy.typing import NDArray

from . import _names
from .answers import member


@dataclass(frozen=True, repr=False)
class LossInfo:
    """Numbers of the reply beside the tensors. None: does not apply to this request."""

    lists: int = 0
    """Ranking problems in the request."""
    lists_skipped: int = 0
    """Of them, those without a relevant item: no loss, no gradient."""
    lists_stalled: int | None = None
    """Of them, those with a loss above 0 in which the perturbation moved no irrelevant item (only with a gradient).
    Near 0 on healthy runs; all of them means that nothing is being learnt: margin too wide, or lambda too small."""
    gradient_nonzero: int | None = None
    """Gradient entries that are not zero."""
    pairs_jumped: float | None = None
    """How far the perturbation reaches: pairs of a relevant and an irrelevant item that it made change places, memory included,
    per relevant item (only with a gradient). Near 0 means that nothing can be learnt, however few lists are stalled."""
    bank_items: int | None = None
    """Items of the bank that were ranked with."""
    bank_version: int | None = None
    """Version of the bank that was read; it grows by one with each batch appended."""
    bank_version_appended: int | None = None
    """Version that this batch became; None if nothing was appended."""
    bank_generation: int | None = None
    """Raised by each restore and clear."""
    gradient_dropped: float | None = None
    """Score banks: the share of the gradient's magnitude that fell on memory and was dropped."""
    bank_drift: tuple[float | None, ...] | None = None
    """Embedding banks, where ids are sent and the batch is appended: how stale the bank is. The mean of 1 - cos between the
    appended embeddings and the bank's newest of the same id, for those in each quarter of the bank, oldest first; None where
    there is none."""
    bank_drift_items: int | None = None
    """Appended items whose id the bank held."""
    bank_chain: str | None = None
    """Banks in a store: 32 hexadecimal digits that name the history of the version that was read. Equal
    generation, version and chain mean equal items, on whichever daemon."""
    bank_stale_ms: int | None = None
    """Banks in a store: time since the store agreed with the daemon's copy last."""
    list_loss: NDArray[Any] | None = None
    """DetectionAPLoss: the loss of each class, float32 [classes], NaN where it has no relevant place."""

    def __post_init__(self) -> None:
        if self.bank_drift is not None:  # a list, if it went through JSON
            object.__setattr__(self, "bank_drift", tuple(self.bank_drift))

    def __repr__(self) -> str:
        return _told(self)

    @property
    def lists_valid(self) -> int:
        """Number of lists with a relevant item: the divisor of a mean over lists, and the number
        that avg_factor sums over trainers."""
        return self.lists - self.lists_skipped


_KINDS: dict[str, type] = {"gradient_dropped": float, "bank_chain": str, **_names.REPLY_NUMBERS}
"""What members of a reply are; the others are whole numbers."""
_DRIFT = tuple(f"bank_drift_{quarter}" for quarter in range(1, 5))


def info_from(parameters: Mapping[str, Any]) -> LossInfo:
    """Reads the known parameters of a reply; a newer daemon may send more."""
    given = dict(parameters)
    values: dict[str, Any] = {
        f.name: member(given, f.name, _KINDS.get(f.name, int), "the answer", f.default)
        for f in fields(LossInfo) if f.name not in ("bank_drift", "list_loss")}
    if values["bank_drift_items"] is not None:
        values["bank_drift"] = tuple(member(given, name, float, "the answer", None) for name in _DRIFT)
    if not values["bank_version_appended"]:
        values["bank_version_appended"] = None
    return LossInfo(**values)


def _told(one: Any) -> str:
    """The repr of a dataclass, with only the fields that are set."""
    said = [f"{f.name}={_short(getattr(one, f.name))}" for f in fields(one) if getattr(one, f.name) is not None]
    return f"{type(one).__name__}({', '.join(said)})"


def _short(value: Any) -> str:
    """An array by its shape, a number with six digits."""
    if hasattr(value, "shape"):
        return f"{value.dtype}{list(value.shape)}"
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


@dataclass(frozen=True, repr=False)
class LossResult:
    """A loss and its gradient at upstream 1: multiply it by the upstream gradient of the chain
    rule."""

    loss: float
    """The loss, to float32 precision."""
    info: LossInfo
    gradient: NDArray[Any] | None = None
    """float32, shape of the scores or embeddings as sent; writable and the caller's own. None if not asked for."""
    ref_gradient: NDArray[Any] | None = None
    """float32 [R, dim], where references were sent."""
    gradient_indices: NDArray[Any] | None = None
    """int64 [nnz], flat and ascending, with gradient="sparse"."""
    gradient_values: NDArray[Any] | None = None
    """float32 [nnz]."""
    list_loss: NDArray[Any] | None = None
    """float32 [lists], NaN for skipped lists, with list_loss=True."""
    list_stalled: NDArray[Any] | None = None
    """bool [lists], with list_stalled=True: a loss above 0, and no irrelevant item changed its rank."""
    batch_id: str | None = None
    """Under which the batch was appended to a bank."""

    def __repr__(self) -> str:
        return _told(self)
