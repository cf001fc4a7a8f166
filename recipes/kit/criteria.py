# SPDX-License-Identifier: Apache-2.0
"""The losses of the retrieval recipes: rankd's, and those of pytorch-metric-learning.

NT-Xent without a memory is written out here: the same numbers as pytorch-metric-learning's
NTXentLoss, which compares every positive pair with every negative one in a matrix. With that one,
400 steps of batches of 128 took 63 s of a processor; with the other losses they take 18.
"""
from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

import rankd
import rankd.torch

from .embed import DIM, Criterion
from .ideas import build

_RANKD = ("ap", "recall")
_PEERS = {"nt-xent": "NTXentLoss", "supcon": "SupConLoss", "contrastive": "ContrastiveLoss",
          "multi-similarity": "MultiSimilarityLoss", "fastap": "FastAPLoss", "smoothap": "SmoothAPLoss"}
_numbers = itertools.count()


@contextmanager
def criterion(settings: Mapping[str, Any], client: rankd.Client) -> Iterator[Criterion]:
    """The loss `settings["loss"]`; the other settings are arguments of its class. "bank" (rankd)
    and "memory" (CrossBatchMemory of pytorch-metric-learning) are numbers of items; a bank is
    deleted at the end."""
    arguments = dict(settings)
    name = arguments.pop("loss")
    if name == "idea":
        yield build(client, **arguments)
        return
    if name not in _RANKD:
        yield _peer(name, arguments)
        return
    bank = None
    if "bank" in arguments:
        bank = f"recipe-{next(_numbers)}"
        client.banks.create(bank, dim=DIM, capacity=arguments.pop("bank"), durability="none")
    loss = rankd.torch.RetrievalLoss(name, bank=bank, client=client, **arguments)
    try:
        yield lambda embeddings, labels, ids: loss(embeddings, labels, ids=ids)
    finally:
        if bank:
            client.banks.delete(bank)


def nt_xent(embeddings: torch.Tensor, labels: torch.Tensor, *, temperature: float) -> torch.Tensor:
    """The mean over pairs of an item and another of its label: -log of the pair's share in
    exp(cosine / temperature) of itself and of the item with all items of other labels."""
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    similarity = unit @ unit.T / temperature
    same = labels[:, None] == labels[None]
    others = similarity.masked_fill(same, -torch.inf).logsumexp(1)
    pairs = same & ~torch.eye(len(same), dtype=torch.bool)
    return torch.nn.functional.softplus((others[:, None] - similarity)[pairs]).mean()


def _peer(name: str, arguments: dict[str, Any]) -> Criterion:
    if name == "nt-xent" and not arguments.get("memory"):
        return lambda embeddings, labels, ids: nt_xent(embeddings, labels, **arguments)
    from pytorch_metric_learning import losses, miners

    memory, miner = arguments.pop("memory", 0), None
    if arguments.pop("miner", False):
        miner = miners.MultiSimilarityMiner()
    loss = getattr(losses, _PEERS[name])(**arguments)
    if memory:
        loss = losses.CrossBatchMemory(loss, embedding_size=DIM, memory_size=memory, miner=miner)
        miner = None

    def call(embeddings: torch.Tensor, labels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        del ids
        value: torch.Tensor = loss(embeddings, labels, miner(embeddings, labels)) if miner else loss(embeddings, labels)
        return value

    return call
