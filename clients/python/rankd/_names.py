"""Written by `make reference` from the daemon's tables (lib/losses/losses.def,
proto/rankd_ports.def, proto/rankd_numbers.def, lib/request/param.def); change it there."""

LOSSES: tuple[str, ...] = ("ap", "recall", "ndcg", "mrr",)
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
REPLY_NUMBERS: dict[str, type] = {"pairs_jumped": float, "bank_drift_1": float, "bank_drift_2": float, "bank_drift_3": float, "bank_drift_4": float, "bank_drift_items": int, "bank_stale_ms": int}
PARAMETERS: tuple[str, ...] = (
    "lambda", "lambda_scope", "lambda_units", "gradient_scale", "margin", "average", "mark_stalled", "axis", "interclass", "weight", "gain", "top_k", "share_of", "normalize", "gallery", "bank", "bank_read", "bank_max_age", "enqueue", "bank_version", "batch_id")
