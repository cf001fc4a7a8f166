#!/usr/bin/env python3
"""Writes the seeds of the fuzz corpora: small valid inputs of every kind. Crashes that were found are added by hand."""
import gzip
import json
import struct
import zlib
from pathlib import Path

HERE = Path(__file__).parent / "corpus"
MODELS = ["ap", "recall", "rank", "rank_vjp"]


def put(corpus, name, data):
    folder = HERE / corpus
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def infer(name, model, document, binary=b""):
    text = json.dumps(document).encode()
    put("infer_request", name, bytes([MODELS.index(model)]) + struct.pack("<H", len(text)) + text + binary)


def tensor(name, shape, datatype, data=None, size=None):
    made = {"name": name, "shape": shape, "datatype": datatype}
    if data is not None:
        made["data"] = data
    else:
        made["parameters"] = {"binary_data_size": size}
    return made


def main():
    scores = tensor("scores", [2, 3], "FP32", [[0.9, 0.8, 0.7], [0.1, None, 0.3]])
    targets = tensor("targets", [2, 3], "INT8", [0, 1, 0, 1, -1, 0])
    infer("ap_json", "ap", {"id": "a", "parameters": {"lambda": 2, "margin": 0.1}, "inputs": [scores, targets]})
    infer("recall_all", "recall", {
        "parameters": {"lambda": 0.5, "weight": "log", "axis": 0, "interclass": 0.5, "average": "micro", "lambda_scope": "batch",
                       "lambda_units": "rank", "timeout": 1000000, "binary_data_output": True},
        "inputs": [scores, targets],
        "outputs": [{"name": n, "parameters": {"binary_data": False}} for n in
                    ("loss", "list_loss", "gradient", "gradient_indices", "gradient_values")]})
    infer("ap_binary", "ap", {"inputs": [tensor("scores", [1, 4], "FP16", size=8), tensor("targets", [1, 4], "INT64", size=32)]},
          struct.pack("<4e4q", 1, 2, 3, 4, 1, 0, 0, 1))
    infer("ap_embeddings", "ap", {"inputs": [
        tensor("embeddings", [3, 2], "FP32", [1, 0, 0.8, 0.6, 0, 1]), tensor("labels", [3], "INT64", [1, 1, 2]),
        tensor("ids", [3], "INT64", [5, 6, -1]), tensor("ref_embeddings", [1, 2], "FP32", [0.6, 0.8]), tensor("ref_labels", [1], "INT32", [2])],
        "outputs": [{"name": "loss"}, {"name": "gradient"}, {"name": "ref_gradient"}]})
    infer("rank", "rank", {"inputs": [tensor("scores", [2, 3], "FP64", [1, 2, 3, 3, 2, 1])]})
    infer("rank_vjp", "rank_vjp", {"parameters": {"lambda": 3}, "inputs": [
        tensor("scores", [1, 4], "BF16", size=8), tensor("upstream", [1, 4], "FP32", size=16)]},
        struct.pack("<4H4f", 0x3f80, 0x4000, 0xbf80, 0x3f00, 1, -1, 0.5, 0))
    # model, types (scores, targets << 2, good targets 0x20), rows - 1, columns - 1, outputs, choices, numbers, data
    varied = bytes((i * 37 + i * i * 11) % 251 for i in range(97))
    put("run", "ap_rows", bytes([0, 0x20, 2, 40, 0xff, 0x00, 8]) + varied)
    put("run", "recall_columns_half", bytes([1, 0x21, 9, 6, 0xff, 0x35, 0x9a]) + varied)
    put("run", "ap_ties_interclass", bytes([0, 0x3e, 5, 20, 0x30, 0x06, 0x8c]) + b"\x00\x00\x80\x3f" * 3 + b"\x00\x00\x00\x80")
    put("run", "recall_wide_targets", bytes([1, 0x10, 1, 3, 0xff, 0x40, 8]) + struct.pack("<8q", 1, 0, 0, 1, -1, 0, 1, 0))
    put("run", "rank_fp64", bytes([2, 3, 3, 30, 0xff, 0, 8]) + struct.pack("<9d", *(x / 7 for x in range(-4, 5))))
    put("run", "vjp_any_lambda", bytes([3, 0, 2, 30, 0xff, 0x80, 8]) + struct.pack("<d", 0.75) + varied)
    put("run", "ap_any_parameters", bytes([0, 0x20, 2, 30, 0xff, 0x81, 8]) + struct.pack("<3d", 1e-3, 0.1, 0.5) + varied)
    text = b'{"inputs": []}' * 20
    put("inflate", "gzip", b"\x01" + gzip.compress(text, mtime=0))
    put("inflate", "zlib", b"\x00" + zlib.compress(text))
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    put("inflate", "raw", b"\x00" + raw.compress(text) + raw.flush())
    http_heads()
    put("inflate", "bomb", b"\x01" + gzip.compress(b" " * (4 << 20), mtime=0))


def http_heads():
    """Forms of the table that the tests of the framing read, three and a following request in a file."""
    lines = [line for line in (HERE.parents[1] / "data/http_forms.txt").read_text().splitlines() if line[:1].isdigit()]
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    follower = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    good = [line[8:] for line in lines if line[4:8] == "200 "]
    refused = [line[4:] for line in lines if line[4:8] != "200 "]
    for number, form in enumerate(good[::4] + refused[::4]):
        message = form.encode("latin-1").decode("unicode_escape").encode("latin-1")
        put("http_head", f"form{number:02}", bytes([number]) + message.replace(b"$", chunked, 1) + follower)


if __name__ == "__main__":
    main()
