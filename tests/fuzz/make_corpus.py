#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of the fuzz corpora: small valid inputs of every kind. Crashes that were found
are added by hand."""
import gzip
import io
import json
import runpy
import struct
import zipfile
import zlib
from pathlib import Path

HERE = Path(__file__).parent / "corpus"
MODELS = runpy.run_path(str(Path(__file__).parents[2] / "clients/python/rankd/_names.py"))["MODELS"]


def put(corpus, name, data):
    folder = HERE / corpus
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def infer(name, model, document, binary=b""):
    text = json.dumps(document).encode()
    put("infer_request", name, bytes([MODELS.index(model)]) + struct.pack("<H", len(text)) + text + binary)


def json_tensors():
    def seed(name, *data, space=(",", ":"), targets=None):
        inputs = [tensor("scores", [2, 3], datatype, values) for datatype, values in data]
        inputs += [tensor("targets", [2, 3], "INT8", targets)] if targets else []
        put("json_tensors", name, json.dumps({"inputs": inputs}, separators=space).encode())

    flat = [0.1, -2.5e-7, 3, 1e22, 0.30000001192092896, 123456.78901234567]
    seed("flat", ("FP32", flat), targets=[0, 1, 0, 1, 0, 1])
    seed("nested", ("FP64", [flat[:3], flat[3:]]), space=(", ", ": "), targets=[[0, 1, 0], [-1, 0, 1]])
    seed("words", ("FP32", ["Infinity", "-Infinity", None, 0, -0.0, 5e-324]), targets=[0, 1, 4.0, 1e2, 0, 1])
    seed("refused", ("FP32", [True, "x\u00e4", {"a": [1]}, 1, 2, 3]))
    seed("lines", ("FP32", flat), space=("\n,", "\n:"))


def tensor(name, shape, datatype, data=None, size=None):
    made = {"name": name, "shape": shape, "datatype": datatype}
    if data is not None:
        made["data"] = data
    else:
        made["parameters"] = {"binary_data_size": size}
    return made


def npy_file(version, header, data=b""):
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + data


def npy(name, version, header, data=b""):
    put("array", name, b"\x01" + npy_file(version, header, data))


def npz(name, packed, wide=False, **arrays):
    """Arrays by name: type and values. `wide`: with zip64 fields."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for array, (descr, form, values) in arrays.items():
            header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({len(values)},), }}"
            with archive.open(zipfile.ZipInfo(f"{array}.npy"), "w", force_zip64=wide) as member:
                member.write(npy_file(1, header, struct.pack(f"<{len(values)}{form}", *values)))
    put("batch", name, b"\x01" + file.getvalue())


def batches():
    flat = {"scores": ("<f4", "f", (0.9, 0.8, 0.7)), "targets": ("|i1", "b", (0, 1, 0)), "offsets": ("<i8", "q", (0, 1, 3))}
    npz("npz_stored", False, **flat)
    npz("npz_zip64", False, wide=True, **flat)
    npz("npz_deflated", True, list_weight=("<f4", "f", (1.0, 0.5)), **flat)
    npz("npz_other_array", False, scores=flat["scores"], labels=flat["targets"])
    put("batch", "npz_no_member", b"\x01PK\x05\x06" + bytes(18))
    put("batch", "letor", b"\x00# made\n2 qid:1 1:0.5 3:-1e3 # a\n0 qid:1 2:1\r\n\n1 qid:7\n")
    put("batch", "letor_feature", b"\x081 qid:4 1:0 3:0.25\n0 qid:4 3:inf\n")
    put("batch", "letor_apart", b"\x001 qid:4\n0 qid:5\n0 qid:4\n")


def arrays():
    npy("npy_fp32", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n", struct.pack("<6f", *range(6)))
    npy("npy_long_header", 2, "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }", struct.pack("<2d", 1, 2))
    npy("npy_int8", 3, '{"shape":(1,4),"descr":"|i1","fortran_order":False}', bytes(4))
    npy("npy_empty", 1, "{'descr': '<i8', 'fortran_order': False, 'shape': (0, 5), }")
    npy("npy_fortran", 1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", bytes(16))
    npy("npy_structure", 1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", bytes(4))
    npy("npy_ends_at_a_key", 1, "{'descr':")
    npy("npy_huge", 1, "{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904), }")
    put("array", "text_heading", b"\x00\xef\xbb\xbfa;b\r\n0.9;0.8\r\n1e-3;-inf\r\n")
    put("array", "text_quoted", b'\x00"x ""y""","z\n"\n"1" , "2"\n3,4\n')
    put("array", "text_blanks", b"\x00# made\n\n 1  2\t3\n4 5 6")
    put("array", "text_empty_cell", b"\x00.9,,.8\n1,2,3\n")


def reply(name, wanted, outputs, binary=b"", given=0, **parameters):
    head = json.dumps({"model_name": "ap", "model_version": "1", "parameters": parameters, "outputs": outputs}).encode()
    put("reply", name, struct.pack("<BBH", wanted, given, len(head)) + head + binary)


def replies():
    loss = tensor("loss", [1], "FP32", size=4)
    reply("loss_and_gradient", 3, [loss, tensor("gradient", [2, 3], "FP32", size=24)], struct.pack("<7f", *range(7)),
          lists=2, lists_skipped=0, lists_stalled=1, gradient_nonzero=3)
    reply("room_of_the_callers", 3, [loss, tensor("gradient", [1, 4], "FP32", size=16)], bytes(20), given=3, lists=1)
    reply("room_too_small", 2, [tensor("gradient", [5, 4], "FP32", size=80)], bytes(80), given=2, lists=1)
    reply("sparse", 0x30, [tensor("gradient_indices", [2], "INT64", size=16), tensor("gradient_values", [2], "FP32", size=8)],
          bytes(24), lists=1, lists_skipped=1)
    reply("ranks", 8, [tensor("ranks", [1, 2], "INT64", size=16)], struct.pack("<2q", 2, 1), lists=1)
    reply("nobody_wanted_it", 0, [loss], bytes(4), lists=1)
    reply("bank", 1, [loss], bytes(4), lists=1, bank_items=4, bank_version=3, bank_version_appended=4, bank_generation=0,
          gradient_dropped=0.25)
    reply("twice", 1, [loss, loss], bytes(8), lists=1)
    reply("sizes_do_not_add_up", 1, [tensor("loss", [1], "FP32", size=8)], bytes(8), lists=1)
    put("reply", "error", struct.pack("<BBH", 1, 0, 20) + b'{"error":"no room 1"}')
    put("reply", "deep", struct.pack("<BBH", 1, 0, 6000) + b'{"outputs":' + b"[" * 5000)


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
        tensor("ids", [3], "INT64", [5, 6, -1]), tensor("ref_embeddings", [1, 2], "FP32", [0.6, 0.8]),
        tensor("ref_labels", [1], "INT32", [2])], "outputs": [{"name": "loss"}, {"name": "gradient"}, {"name": "ref_gradient"}]})
    infer("ap_documents", "ap", {"parameters": {"gallery": "references"}, "inputs": [
        tensor("embeddings", [2, 2], "FP32", [1, 0, 0.8, 0.6]), tensor("labels", [2], "INT64", [1, 2]),
        tensor("ref_embeddings", [3, 2], "FP16", size=12), tensor("ref_labels", [3], "INT64", [1, 1, 2]),
        tensor("ref_ids", [3], "INT64", [5, 6, -1]), tensor("enqueue_mask", [3], "BOOL", [True, False, True])]},
          struct.pack("<6e", 0.6, 0.8, 1, 0, 0, 1))
    infer("ap_relevance", "ap", {"inputs": [
        tensor("embeddings", [2, 2], "FP32", [1, 0, 0.8, 0.6]), tensor("relevance", [2, 3], "INT8", [0, 1, -1, 1, 0, 0]),
        tensor("ref_embeddings", [1, 2], "FP32", [0.6, 0.8])], "outputs": [{"name": "loss"}, {"name": "ref_gradient"}]})
    infer("hits", "hits", {"parameters": {"top_k": 2, "share_of": "top_k"}, "inputs": [scores, targets],
                           "outputs": [{"name": "list_loss"}]})
    infer("rank", "rank", {"inputs": [tensor("scores", [2, 3], "FP64", [1, 2, 3, 3, 2, 1])]})
    infer("rank_vjp", "rank_vjp", {"parameters": {"lambda": 3}, "inputs": [
        tensor("scores", [1, 4], "BF16", size=8), tensor("upstream", [1, 4], "FP32", size=16)]},
        struct.pack("<4H4f", 0x3f80, 0x4000, 0xbf80, 0x3f00, 1, -1, 0.5, 0))
    # model, types (scores, targets << 2, good targets 0x20), rows - 1, columns - 1, outputs,
    # choices, numbers, data
    varied = bytes((i * 37 + i * i * 11) % 251 for i in range(97))
    put("run", "ap_rows", bytes([0, 0x20, 2, 40, 0xff, 0x00, 8]) + varied)
    put("run", "recall_columns_half", bytes([1, 0x21, 9, 6, 0xff, 0x35, 0x9a]) + varied)
    put("run", "ap_ties_interclass", bytes([0, 0x3e, 5, 20, 0x30, 0x06, 0x8c]) + b"\x00\x00\x80\x3f" * 3 + b"\x00\x00\x00\x80")
    put("run", "recall_wide_targets", bytes([1, 0x10, 1, 3, 0xff, 0x40, 8]) + struct.pack("<8q", 1, 0, 0, 1, -1, 0, 1, 0))
    put("run", "rank_fp64", bytes([MODELS.index("rank"), 3, 3, 30, 0xff, 0, 8])
        + struct.pack("<9d", *(x / 7 for x in range(-4, 5))))
    put("run", "vjp_any_lambda", bytes([MODELS.index("rank_vjp"), 0, 2, 30, 0xff, 0x80, 8]) + struct.pack("<d", 0.75) + varied)
    put("run", "ap_any_parameters", bytes([0, 0x20, 2, 30, 0xff, 0x81, 8]) + struct.pack("<3d", 1e-3, 0.1, 0.5) + varied)
    json_tensors()
    arrays()
    batches()
    replies()
    text = b'{"inputs": []}' * 20
    put("inflate", "gzip", b"\x01" + gzip.compress(text, mtime=0))
    put("inflate", "zlib", b"\x00" + zlib.compress(text))
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    put("inflate", "raw", b"\x00" + raw.compress(text) + raw.flush())
    http_heads()
    stored()
    put("inflate", "bomb", b"\x01" + gzip.compress(b" " * (4 << 20), mtime=0))


def stored():
    """Replies of a Redis server, entries of an index, a payload (its hashes are those that the
    daemon writes)."""
    put("stored", "wire_array", b"\x00*3\r\n$2\r\nok\r\n:12\r\n*2\r\n$-1\r\n-ERR no\r\n")
    put("stored", "wire_stream", b"\x00*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$1\r\nr\r\n$5\r\nhello\r\n")
    put("stored", "wire_huge", b"\x00*2147483647\r\n")
    put("stored", "wire_bulk", b"\x00$9223372036854775807\r\nx")
    put("stored", "wire_deep", b"\x00" + b"*1\r\n" * 12 + b":1\r\n")
    name, chain = "0123456789abcdef" * 2, "fedcba9876543210" * 2
    put("stored", "entry_batch", b"\x0d" + f"b 1 28 4 256 {name} {name[:16]} 1 1 6 24 1700000000000 {chain}".encode())
    put("stored", "entry_clear", b"\x04" + f"c 2 28 0 0 {name} {name[:16]} 0 0 0 0 1700000000000 {chain}".encode())
    head = struct.pack("<IIQQQQIIQQ", 0x31424B52, 3, 64 + 32, 0, 0, 0, 2, 0, 0, 0)
    put("stored", "payload", b"\x02" + head + struct.pack("<8Q", 1, 1, 0, 0, 0, 0, 0, 0) + bytes(32))


def http_heads():
    """Forms of the table that the tests of the framing read, three and a following request in a
    file."""
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
