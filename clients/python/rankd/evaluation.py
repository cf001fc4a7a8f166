# SPDX-License-Identifier: Apache-2.0
"""Sends the lists of an evaluation to the daemon in parts, so that requests stay small for any
amount of data."""
from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .client import Client
from .errors import Forbidden
from .tensors import BF16, as_array

TILE_BYTES = 32 << 20  # of scores, of embeddings or of a relevance in one request
TILE_QUERIES = 1024
TILE_WORK = 1 << 35  # queries times items times dimensions of one request: seconds, well below any timeout

Array = NDArray[Any]


class Lists(Protocol):
    """Lists for which the daemon can compute any loss."""

    def losses(self, client: Client, model: str, graded: bool, parameters: dict[str, Any]) -> Array:
        """The loss of each list, float64 [lists], NaN where nothing is relevant. `graded`: targets
        are grades; otherwise items with a target above 0 are relevant."""


def array(name: str, value: Any) -> Array | None:
    """Numbers of any kind as numpy: a torch tensor of any device, bfloat16 as float32; None stays
    None. `name` names the argument in the error about a value that is not an array."""
    if value is None:
        return None
    if isinstance(value, BF16):
        return (value.bits.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if hasattr(value, "detach"):  # a torch tensor; torch need not be imported for it
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        return np.asarray(value.numpy())
    return as_array(name, value)


def _tiles(count: int, bytes_each: int, most: int | None = None) -> Iterator[slice]:
    """Consecutive slices of 0..count-1; at least one, even if count is 0."""
    step = max(1, TILE_BYTES // max(1, bytes_each))
    step = min(step, most) if most else step
    for first in range(0, max(count, 1), step):
        yield slice(first, min(first + step, count))


def _binary(targets: Array | None, graded: bool) -> Array | None:
    return targets if graded or targets is None or targets.dtype == np.bool_ else np.where(targets > 0, 1, targets)


class ScoreLists:
    """Lists of scores and targets: rows, columns with axis=0, or pieces of a flat array with
    offsets."""

    def __init__(self, scores: Any, targets: Any, axis: int | None = None, offsets: Any = None) -> None:
        self.axis, self.offsets = 1 if axis is None else axis, array("offsets", offsets)
        given, known = array("scores", scores), array("targets", targets)
        if given is None or known is None:
            raise TypeError("scores and targets must be given together")
        self.scores, self.targets = given, known
        dimensions = 2 if offsets is None else 1
        for name, value in (("scores", given), ("targets", known)):
            if value.ndim != dimensions:
                raise ValueError(f"{name} has shape {list(value.shape)}; it must be "
                                 f"{'[N], beside offsets' if dimensions == 1 else '[Q, N]'}")
        if given.shape != known.shape:
            raise ValueError(f"targets has shape {list(known.shape)}; it must be that of scores, {list(given.shape)}")
        if axis is not None and offsets is not None:
            raise ValueError(f"axis is {axis!r}, beside offsets, which say where each list begins; leave it out")
        if self.axis not in (0, 1):
            raise ValueError(f"axis is {axis!r}; it may be 0 or 1")

    def losses(self, client: Client, model: str, graded: bool, parameters: dict[str, Any]) -> Array:
        targets = _binary(self.targets, graded)
        assert targets is not None
        return np.concatenate([_list_loss(client, model, {"scores": self.scores[where], "targets": targets[where], **shape},
                                          parameters)
                               for where, shape in self._parts()])

    def _parts(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Parts of a few lists each: the index of their items, and the client's arguments for their
        form."""
        if self.offsets is not None:
            yield from self._pieces(self.offsets)
            return
        lists, items = self.scores.shape[1 - self.axis], self.scores.shape[self.axis]
        for tile in _tiles(lists, items * self.scores.itemsize):
            where = (tile, slice(None)) if self.axis == 1 else (slice(None), tile)
            yield where, {"axis": self.axis}

    def _pieces(self, offsets: Array) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Parts of a flat array. Invalid offsets go to the daemon whole, which has the error
        sentence."""
        good = offsets.ndim == 1 and len(offsets) > 0 and offsets.dtype.kind in "iu" and offsets[0] == 0 \
            and offsets[-1] == len(self.scores) and bool((np.diff(offsets) >= 0).all())
        if not good or self.scores.nbytes <= TILE_BYTES:
            yield slice(None), {"offsets": offsets}
            return
        first = 0
        while first < len(offsets) - 1:
            room = offsets[first] + TILE_BYTES // self.scores.itemsize
            end = max(first + 1, int(np.searchsorted(offsets, room, "right")) - 1)
            yield slice(int(offsets[first]), int(offsets[end])), {"offsets": offsets[first:end + 1] - offsets[first]}
            first = end


class EmbeddingLists:
    """Queries that rank the others of their batch, references and a bank, or references and a bank
    only."""

    def __init__(self, client: Client, *, embeddings: Any, labels: Any = None, ids: Any = None, ref_embeddings: Any = None,
                 ref_labels: Any = None, ref_ids: Any = None, relevance: Any = None, gallery: str = "all",
                 bank: str | None = None, normalize: bool | None = None) -> None:
        if gallery not in ("all", "references"):
            raise ValueError(f"gallery is {gallery!r}; it may be 'all' or 'references'")
        rows = array("embeddings", embeddings)
        if rows is None or rows.ndim != 2:
            raise ValueError("embeddings must be a matrix, [B, dim]")
        self.rows: Array = rows
        self.query = {"labels": array("labels", labels), "ids": array("ids", ids)}
        self.items = {"ref_embeddings": array("ref_embeddings", ref_embeddings), "ref_labels": array("ref_labels", ref_labels),
                      "ref_ids": array("ref_ids", ref_ids)}
        self.relevance, self.gallery, self.bank, self.normalize = array("relevance", relevance), gallery, bank, normalize
        self.most = self._most_queries(client)
        if gallery == "all" and len(rows) > self.most:
            self._rank_as_references()
        self.stored: str | None = None  # the temporary bank that holds the references
        large = self.items["ref_embeddings"] is not None and self.items["ref_embeddings"].nbytes > TILE_BYTES
        self.keep: AbstractContextManager[None] = nullcontext()
        if large and self.relevance is None and bank is None:
            self.keep = self._in_a_bank(client)

    def losses(self, client: Client, model: str, graded: bool, parameters: dict[str, Any]) -> Array:
        relevance = _binary(self.relevance, graded)
        stored = None if graded else self.stored  # a bank knows no grades
        bank, items = (self.bank, self.items) if stored is None else (stored, {})
        common = {**items, "gallery": self.gallery, "bank": bank, "normalize": self.normalize,
                  "enqueue": None if bank is None else False}
        row = max(self.rows[:1].nbytes, 0 if relevance is None else relevance[:1].nbytes)
        tiles = _tiles(len(self.rows), row, self.most) if self.gallery == "references" else [slice(None)]
        return np.concatenate([
            _list_loss(client, model, {"embeddings": self.rows[tile], "relevance": _part(relevance, tile), **common,
                                       **{name: _part(value, tile) for name, value in self.query.items()}}, parameters)
            for tile in tiles])

    def _most_queries(self, client: Client) -> int:
        """The largest number of queries in one request."""
        references = self.items["ref_embeddings"]
        items = (0 if self.gallery == "references" else len(self.rows)) + (0 if references is None else len(references))
        if self.bank is not None:
            try:
                items += client.banks.get(self.bank).items
            except Forbidden:  # a token may be allowed to rank with the bank, but not to read its state
                pass
        return int(np.clip(TILE_WORK // max(1, items * self.rows.shape[1]), 32, TILE_QUERIES))

    def _rank_as_references(self) -> None:
        """Large numbers of queries go in parts, and each part ranks the whole batch as references,
        where an id of its own hides each query from itself."""
        count, given = len(self.rows), self.items["ref_embeddings"]
        others = 0 if given is None else len(given)
        if self.relevance is not None:
            self.relevance = np.array(self.relevance, np.int8 if self.relevance.dtype == np.bool_ else None)
            self.relevance[np.arange(count), np.arange(count)] = -1
        else:
            self.query["ids"] = _ids_for_all(self.query["ids"], self.items["ref_ids"], count)
        own = {"ref_embeddings": self.rows, "ref_labels": self.query["labels"], "ref_ids": self.query["ids"]}
        for name, mine in own.items():
            theirs = self.items[name]
            if theirs is None and others and name == "ref_ids":
                theirs = np.full(others, -1)
            if mine is None and theirs is not None and name == "ref_ids":
                mine = np.full(count, -1)
            self.items[name] = mine if theirs is None else np.concatenate([mine, theirs])
        self.gallery = "references"

    @contextmanager
    def _in_a_bank(self, client: Client) -> Iterator[None]:
        """A context in which the references are in a temporary bank, to which they were sent in
        parts."""
        rows, name = self.items["ref_embeddings"], f"evaluation-{uuid.uuid4().hex}"
        assert rows is not None
        client.banks.create(name, dim=rows.shape[1], capacity=len(rows), durability="none",
                            normalize=True if self.normalize is None else bool(self.normalize))
        try:
            nobody = {"embeddings": np.zeros((0, rows.shape[1]), np.float32), "labels": np.zeros(0, np.int64)}
            for tile in _tiles(len(rows), rows[:1].nbytes):
                part = {key: _part(value, tile) for key, value in self.items.items()}
                client.loss("ap", **nobody, **part, gallery="references", bank=name, gradient=False)
            self.stored = name
            yield
        finally:
            self.stored = None
            client.banks.delete(name)


def _part(value: Array | None, tile: slice) -> Array | None:
    return None if value is None else value[tile]


def _ids_for_all(own: Array | None, others: Array | None, count: int) -> Array:
    """Ids for all items: an item without an id gets one from the far end of the range, where data
    sets have none, and which is not among the given ones."""
    ids = np.full(count, -1) if own is None else own.astype(np.int64)
    given = np.concatenate([ids, [] if others is None else others]).astype(np.int64)
    first = int(np.iinfo(np.int64).min)
    while ((given >= first) & (given < first + count)).any():
        first += count
    return np.where(ids == -1, first + np.arange(count), ids)


def _list_loss(client: Client, model: str, inputs: dict[str, Any], parameters: dict[str, Any]) -> Array:
    given = {name: value for name, value in inputs.items() if value is not None}
    result = client.loss(model, **given, **parameters, margin=0.0, gradient=False, list_loss=True)
    assert result.list_loss is not None
    return result.list_loss.astype(np.float64)
