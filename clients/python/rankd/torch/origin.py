# SPDX-License-Identifier: Apache-2.0
"""Which rank gave what an error of a joint request is about: the daemon knows positions in the
whole batch only."""
from __future__ import annotations

import re

from ..errors import InvalidRequest
from .shards import Forms

_ROW = re.compile(r"\b(embeddings|labels|ids|list_weight|ref_embeddings|ref_labels|ref_ids)\[(\d+)")


def of_its_rank(error: Exception, forms: Forms, *, shares: bool = False) -> Exception:
    """The error about the shard of the rank that gave the row; Team puts that rank's number in
    front of it. With `shares` the request had this rank's own queries, and the whole batch among
    the references, before theirs."""
    found = _ROW.search(error.sentence) if isinstance(error, InvalidRequest) else None
    if found is None or not isinstance(error, InvalidRequest):
        return error
    name, row = found[1], int(found[2])
    matrix = "ref_embeddings" if name.startswith("ref_") else "embeddings"
    if shares and matrix == "embeddings":
        return error
    batch = forms.start("embeddings", len(forms.rows)) if shares else 0
    if row < batch:
        name, matrix = name[len("ref_"):], "embeddings"
    elif matrix == "ref_embeddings":
        row -= batch
    for rank in range(len(forms.rows)):
        local = row - forms.start(matrix, rank)
        if 0 <= local < forms.shape(matrix, rank)[0]:
            sentence = f"{error.sentence[:found.start()]}{name}[{local}{error.sentence[found.end():]}"
            told = InvalidRequest(sentence, code=error.code, retry_after=error.retry_after)
            told.of_rank = rank  # type: ignore[attr-defined]
            return told
    return error
