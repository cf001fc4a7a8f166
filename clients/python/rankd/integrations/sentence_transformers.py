# SPDX-License-Identifier: Apache-2.0
"""Losses for sentence-transformers. The library is not imported: they use only the given model.

    from rankd.integrations.sentence_transformers import BiEncoderLoss, RerankerLoss

    loss = BiEncoderLoss(SentenceTransformer("…"))        # (anchor, positive), (anchor, positive, negative, …)
    loss = RerankerLoss(CrossEncoder("…", num_labels=1))   # (query, [documents]) and a list of grades
"""
from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .._names import LOSSES
from ..parameters import expect_arguments, known_model, whole
from ..results import LossInfo
from ..torch import RetrievalLoss, ScoresLoss
from ..torch.convert import expect_tensor
from ..torch.wording import in_lists, in_words_of

_Features = Mapping[str, torch.Tensor]


class _HostLoss(nn.Module):
    """Common base of both losses. `rank` is the loss module of rankd.torch."""

    rank: Any

    def __init__(self, model: nn.Module, mini_batch_size: int | None) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model is a {type(model).__name__}; it must be a torch.nn.Module, such as a SentenceTransformer or "
                            "a CrossEncoder")
        self.model = model
        self.mini_batch_size = None if mini_batch_size is None else whole("mini_batch_size", mini_batch_size, 1)

    @property
    def info(self) -> LossInfo | None:
        """Describes the latest call."""
        return self.rank.info  # type: ignore[no-any-return]

    def get_config_dict(self) -> dict[str, Any]:
        """For the model card."""
        return {"loss": self.rank.model, "margin": self.rank.schedule.margin, "bank": self.rank.bank,
                "mini_batch_size": self.mini_batch_size}


class BiEncoderLoss(_HostLoss):
    """Each anchor (query) ranks the positives and negatives (documents) of the batch, and those of
    a bank.

    model            a SentenceTransformer, or any module that takes a dict of tensors and returns
                     one with "sentence_embedding"
    loss             "ap", "recall" or another of rankd.LOSSES
        labelled         False: each anchor should find its positive, and any document of the batch
                         with
                     the same tokens. True: it should find the positives with its label, and
                     negatives are relevant to no anchor
    bank             name of an embedding bank: documents of earlier batches are ranked too, and
                     this batch's are appended
    mini_batch_size  texts that the model takes at a time, with their activations computed again in
                     the backward pass: the memory of a small batch with the lists of a large one
    parameters       further arguments of rankd.torch.RetrievalLoss: margin, lambda_val,
                     gradient_scale, …
    """

    def __init__(self, model: nn.Module, loss: str = "ap", *, labelled: bool = False, bank: str | None = None,
                 mini_batch_size: int | None = None, **parameters: Any) -> None:
        super().__init__(model, mini_batch_size)
        if "gallery" in parameters:
            raise TypeError("gallery is given; anchors rank documents here, which is gallery='references'")
        expect_arguments(parameters, type(self), RetrievalLoss)
        known_model("loss", loss, LOSSES)
        self.labelled = labelled
        self.rank = RetrievalLoss(loss, bank=bank, gallery="references", **parameters)

    def forward(self, sentence_features: Iterable[_Features], labels: torch.Tensor | None = None) -> torch.Tensor:
        """The loss, a scalar.

        sentence_features  a dict of tensors [B, …] for each column: anchors, positives, and any
                           number of negatives
        labels             [B] integers with labelled=True; else None, or the zeros of examples
                           without a label
        """
        if isinstance(sentence_features, Mapping):
            raise TypeError("sentence_features is one dict; it must be a list with a dict for each column: anchors, positives, "
                            "negatives")
        if labels is not None:
            expect_tensor("labels", labels)
        columns = list(sentence_features)
        if len(columns) < 2:
            raise ValueError(f"sentence_features has {len(columns)} column; it must have two or more: anchors, positives, "
                             "negatives. For texts with labels use rankd.torch.RetrievalLoss on the embeddings")
        wanted, found = self._labels(columns, labels)
        queries, *documents = [self._embed(column) for column in columns]
        if any(len(one) != len(queries) for one in documents):
            raise ValueError(f"sentence_features has columns of {[len(queries), *map(len, documents)]} texts; all must be of one "
                             "length")
        value: torch.Tensor = self.rank(queries, wanted.to(queries.device), torch.cat(documents), found.to(queries.device))
        return value

    def _embed(self, features: _Features) -> torch.Tensor:
        if self.mini_batch_size is None or not torch.is_grad_enabled():
            return _embedding(self.model, features)
        size = _length(features)
        parts = [{key: value[at:at + self.mini_batch_size] if isinstance(value, torch.Tensor) else value
                  for key, value in features.items()}
                 for at in range(0, size, self.mini_batch_size)]
        return torch.cat([checkpoint(_embedding, self.model, part, use_reentrant=False) for part in parts])

    def _labels(self, columns: list[_Features], labels: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The labels of the anchors, and of all documents."""
        if self.labelled:
            if labels is None:
                raise TypeError("labels is None; with labelled=True they must be given")
            nobody = torch.full((len(labels) * (len(columns) - 2),), -1, dtype=torch.int64, device=labels.device)
            return labels, torch.cat([labels.to(torch.int64), nobody])
        if labels is not None and bool((labels != 0).any()):
            raise ValueError(f"labels holds {labels[labels != 0][0].item()}; pairs need none. Give labelled=True if equal labels "
                             "are what an anchor should find")
        found = [_names(column) for column in columns[1:]]
        if any(name is None for name in found):
            if self.rank.bank is not None:
                raise ValueError(f"sentence_features have no 'input_ids' but {sorted(columns[1])}; a loss with a bank recognises "
                                 "a document by them. Give labelled=True and labels")
            size = _length(columns[1])
            found = [torch.arange(at * size, (at + 1) * size) for at in range(len(columns) - 1)]
        return found[0], torch.cat(found)  # type: ignore[arg-type,return-value]


class RerankerLoss(_HostLoss):
    """Each query ranks its documents, which may be of any number, by the logit of a cross-encoder.

    model            a CrossEncoder with num_labels=1
    loss             "ndcg" (labels are grades), "ap", "mrr" or another of rankd.LOSSES
    margin           in units of the logits
    mini_batch_size  pairs that the model takes at a time; None: all
    parameters       further arguments of rankd.torch.ScoresLoss: gain, top_k, lambda_val,
                     gradient_scale, …
    """

    def __init__(self, model: nn.Module, loss: str = "ndcg", *, margin: float = 1.0, mini_batch_size: int | None = None,
                 **parameters: Any) -> None:
        super().__init__(model, mini_batch_size)
        number = getattr(model, "num_labels", 1)
        if number != 1:
            raise ValueError(f"model has num_labels={number}; it must be 1: a document has one score")
        if parameters.get("bank") is not None:
            raise ValueError(f"bank is {parameters['bank']!r}; RerankerLoss takes none: its documents belong to one query each")
        expect_arguments(parameters, type(self), ScoresLoss)
        known_model("loss", loss, LOSSES)
        self.rank = ScoresLoss(loss, margin=margin, **parameters)

    def forward(self, inputs: Sequence[Sequence[Any]], labels: Sequence[torch.Tensor], prompt: Any = None,
                task: Any = None) -> torch.Tensor:
        """The loss, a scalar.

        inputs  [queries, a list of documents for each]
        labels  for each query a tensor with the grade of each document: 0 irrelevant, more is more
                relevant, -1 ignored
        prompt, task: for the model's preprocess() (version 6 of the library and later)
        """
        given = {name: value for name, value in (("prompt", prompt), ("task", task)) if value is not None}
        if given and not hasattr(self.model, "preprocess"):
            raise ValueError(f"{next(iter(given))} is given; a model without preprocess(), as before version 6, takes texts as "
                             "they are")
        if isinstance(labels, torch.Tensor) or len(inputs) != 2:
            raise ValueError(f"inputs has {len(inputs)} column{'' if len(inputs) == 1 else 's'} and labels is a "
                             f"{type(labels).__name__}; they must be [queries, lists of documents], and a list of tensors")
        queries, documents = inputs
        _check_lists(documents, labels)
        sizes, grades = [len(one) for one in documents], [len(one) for one in labels]
        if len(queries) != len(documents) or sizes != grades:
            raise ValueError(f"inputs has {len(queries)} queries with {sizes} documents, and labels has {grades} grades; each "
                             "document needs one")
        scores = self._scores([(query, text) for query, texts in zip(queries, documents) for text in texts], given)
        targets = torch.cat(list(labels)).to(scores.device) if sizes else scores.new_zeros(0)
        with in_words_of({"scores": "the model's scores", "targets": "labels"}, in_lists(sizes)):
            value: torch.Tensor = self.rank(scores, targets, offsets=torch.tensor([0, *sizes]).cumsum(0))
        return value

    def _scores(self, pairs: list[tuple[Any, Any]], given: dict[str, Any]) -> torch.Tensor:
        """The logit of each pair, [pairs]."""
        device = next(self.model.parameters()).device
        if not pairs:
            return torch.zeros(0, device=device, requires_grad=torch.is_grad_enabled())
        size = self.mini_batch_size or len(pairs)
        return torch.cat([self._logits(pairs[at:at + size], given, device) for at in range(0, len(pairs), size)])

    def _logits(self, pairs: list[tuple[Any, Any]], given: dict[str, Any], device: torch.device) -> torch.Tensor:
        if hasattr(self.model, "preprocess"):  # version 6 and later: a dict goes in and comes out
            tokens = self.model.preprocess(pairs, **given)  # type: ignore[operator]
            return _logits(self.model({key: _moved(value, device) for key, value in tokens.items()})).reshape(-1)
        tokens = self.model.tokenizer(pairs, padding=True, truncation=True, return_tensors="pt")  # type: ignore[operator]
        return _logits(self.model(**{key: _moved(value, device) for key, value in tokens.items()})).reshape(-1)


def _check_lists(documents: Sequence[Any], labels: Sequence[Any]) -> None:
    for at, one in enumerate(documents):
        if isinstance(one, str) or not isinstance(one, Sequence):
            raise TypeError(f"documents of query {at} are a {type(one).__name__}; they must be a list of texts")
    for at, one in enumerate(labels):
        if expect_tensor(f"labels[{at}]", one).dim() != 1:
            raise ValueError(f"labels[{at}] is {list(one.shape)}; it must be [documents], a grade for each")


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


def _length(features: _Features) -> int:
    """The number of texts in a column. Version 6 of the library also puts a string among the
    tensors, the kind of input."""
    return next(len(value) for value in features.values() if isinstance(value, torch.Tensor))


def _embedding(model: nn.Module, features: _Features) -> torch.Tensor:
    """[B, dim]. The model gets a dict of its own, because it adds to it."""
    embedding: torch.Tensor = model(dict(features))["sentence_embedding"]
    return embedding


def _logits(output: Any) -> torch.Tensor:
    """The logits in the output of a transformer: a tuple that begins with them, or an object or a
    dict that contains them."""
    if isinstance(output, Mapping):
        return output["logits" if "logits" in output else "scores"]  # type: ignore[no-any-return]
    return output.logits if hasattr(output, "logits") else output[0]  # type: ignore[no-any-return]


def _names(features: _Features) -> torch.Tensor | None:
    """A number for each text, int64 [B], 0 or more. It depends only on the tokens, not on the
    padding, so that equal texts have equal numbers on all trainers. None if the features have no
    tokens."""
    if "input_ids" not in features:
        return None
    tokens = features["input_ids"].detach().to("cpu", torch.int64)
    mask = features.get("attention_mask")
    there = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.to("cpu").bool()
    digests = [hashlib.blake2b(row[kept].numpy().tobytes(), digest_size=8).digest() for row, kept in zip(tokens, there)]
    return torch.tensor([int.from_bytes(one, "little") >> 1 for one in digests], dtype=torch.int64)
