"""Written by `make reference` from the daemon's tables (lib/losses/losses.def,
proto/rankd_ports.def, proto/rankd_numbers.def, lib/request/param.def); change it there."""
from __future__ import annotations

LOSSES: tuple[str, ...] = ("ap", "recall", "ndcg", "mrr",)
METRICS: tuple[str, ...] = ("hits",)
MODELS: tuple[str, ...] = ("ap", "recall", "ndcg", "mrr", "hits", "rank", "rank_vjp")
# By number, each with the types that it may have.
INPUTS: dict[str, tuple[str, ...]] = {
    "scores": ("FP16", "BF16", "FP32", "FP64",),
    "targets": ("BOOL", "UINT8", "INT8", "INT32", "INT64", "FP16", "BF16", "FP32",),
    "upstream": ("FP32",),
    "embeddings": ("FP16", "BF16", "FP32", "FP64",),
    "labels": ("INT32", "INT64",),
    "ids": ("INT64",),
    "enqueue_mask": ("BOOL",),
    "ref_embeddings": ("FP16", "BF16", "FP32", "FP64",),
    "ref_labels": ("INT32", "INT64",),
    "ref_ids": ("INT64",),
    "relevance": ("BOOL", "UINT8", "INT8", "INT32", "INT64", "FP16", "BF16", "FP32",),
    "offsets": ("INT64",),
    "list_weight": ("FP32",),
}
SHAPES: dict[str, str] = {  # of inputs, in words
    "scores": "[Q, N]",
    "targets": "[Q, N]",
    "upstream": "[Q, N]",
    "embeddings": "[B, d]",
    "labels": "[B]",
    "ids": "[B]",
    "enqueue_mask": "[B] or [R]",
    "ref_embeddings": "[R, d]",
    "ref_labels": "[R]",
    "ref_ids": "[R]",
    "relevance": "[B, B+R] or [B, R]",
    "offsets": "[Q + 1]",
    "list_weight": "[lists]",
}
OUTPUTS: tuple[str, ...] = (
    "loss", "gradient", "list_loss", "ranks", "gradient_indices", "gradient_values", "ref_gradient")
# Of a reply, beside its tensors and counts: their types. None: there is none.
REPLY_NUMBERS: dict[str, type] = {
    "pairs_jumped": float,
    "bank_drift_1": float,
    "bank_drift_2": float,
    "bank_drift_3": float,
    "bank_drift_4": float,
    "bank_drift_items": int,
    "bank_stale_ms": int,
}
PARAMETERS: tuple[str, ...] = (
    "lambda",
    "lambda_scope",
    "lambda_units",
    "gradient_scale",
    "margin",
    "average",
    "mark_stalled",
    "axis",
    "interclass",
    "weight",
    "gain",
    "top_k",
    "share_of",
    "normalize",
    "gallery",
    "bank",
    "bank_read",
    "bank_max_age",
    "enqueue",
    "bank_version",
    "batch_id",
)
# What a parameter may be: bool, str, one of some words, or from the one number to the other, whole
# if they are.
VALUES: dict[str, type | tuple[str, ...] | tuple[float, float]] = {
    "lambda": (1e-12, 1e12),
    "lambda_scope": ("list", "batch",),
    "lambda_units": ("normalized", "rank",),
    "gradient_scale": ("lambda", "unit",),
    "margin": (0.0, 1e30),
    "average": ("macro", "micro", "sum",),
    "mark_stalled": bool,
    "axis": ("0", "1",),
    "interclass": (0.0, 1.0),
    "weight": ("log", "loglog", "identity",),
    "gain": ("exp2", "linear",),
    "top_k": (0, 2147483647),
    "share_of": ("relevant", "top_k",),
    "normalize": bool,
    "gallery": ("all", "references",),
    "bank": str,
    "bank_read": bool,
    "bank_max_age": (0, 32768),
    "enqueue": bool,
    "bank_version": (-1.0, 9007199254740992.0),
    "batch_id": str,
}
# The losses and metrics that take a parameter.
TAKEN_BY: dict[str, tuple[str, ...]] = {
    "lambda": ("ap", "recall", "ndcg", "mrr",),
    "lambda_scope": ("ap", "recall", "ndcg", "mrr",),
    "lambda_units": ("ap", "recall", "ndcg", "mrr",),
    "gradient_scale": ("ap", "recall", "ndcg", "mrr",),
    "margin": ("ap", "recall", "ndcg", "mrr", "hits",),
    "average": ("ap", "recall", "ndcg", "mrr", "hits",),
    "mark_stalled": ("ap", "recall", "ndcg", "mrr", "hits",),
    "axis": ("ap", "recall", "ndcg", "mrr", "hits",),
    "interclass": ("ap", "recall", "ndcg", "mrr", "hits",),
    "weight": ("recall",),
    "gain": ("ndcg",),
    "top_k": ("ap", "ndcg", "mrr", "hits",),
    "share_of": ("hits",),
    "normalize": ("ap", "recall", "ndcg", "mrr", "hits",),
    "gallery": ("ap", "recall", "ndcg", "mrr", "hits",),
    "bank": ("ap", "recall", "ndcg", "mrr", "hits",),
    "bank_read": ("ap", "recall", "ndcg", "mrr", "hits",),
    "bank_max_age": ("ap", "recall", "ndcg", "mrr", "hits",),
    "enqueue": ("ap", "recall", "ndcg", "mrr", "hits",),
    "bank_version": ("ap", "recall", "ndcg", "mrr", "hits",),
    "batch_id": ("ap", "recall", "ndcg", "mrr", "hits",),
}
# Parameters that go with lists of scores only, or with embeddings only.
ONLY_WITH: dict[str, str] = {
    "axis": "scores",
    "interclass": "scores",
    "normalize": "embeddings",
    "gallery": "embeddings",
}
