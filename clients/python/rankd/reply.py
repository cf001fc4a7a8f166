# SPDX-License-Identifier: Apache-2.0
"""Reads the reply to an inference over HTTP and checks it against the request before arrays are
made."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .answers import brief, document, documents, member, parse
from .errors import ProtocolError
from .tensors import dtype_of
from .transport import InferReply, InferRequest
from .wire import Body, Head, whole

HEADER_LENGTH = "Inference-Header-Content-Length"
_LARGEST_TEXT = 1 << 20  # JSON without data
_BYTES_OF_A_NUMBER = 32  # as text

_DATATYPES = {"ranks": "INT64", "gradient_indices": "INT64"}  # all others are FP32
_NUMBERS = (int, float, type(None))
_INFINITIES = ("Infinity", "-Infinity")


def read_reply(head: Head, body: Body, request: InferRequest) -> InferReply:
    """Raises ProtocolError for anything but a reply to this request."""
    most_text = _LARGEST_TEXT + _BYTES_OF_A_NUMBER * _most_items(request) * len(request.outputs)
    declared = head.headers.get(HEADER_LENGTH.lower())
    if declared is None:
        text = body.rest(most_text)
    else:
        length = whole(declared, HEADER_LENGTH)
        if length > most_text:
            raise ProtocolError(f"the answer's {HEADER_LENGTH} is {length}; its outputs may need {most_text}")
        text = body.take(length)
    answer = document(parse(text, "the answer"), "the answer")
    outputs: dict[str, NDArray[Any]] = {}
    seen: set[str] = set()
    for entry in documents(answer.get("outputs"), "the answer's outputs"):
        name = member(entry, "name", str, "an output")
        if name not in request.outputs or name in seen:
            raise ProtocolError(f"the answer has an output {brief(name)} that was not asked for" if name not in seen else
                                f"the answer has the output {name} twice")
        seen.add(name)
        if name not in request.places:  # else it is in the region
            outputs[name] = _read_output(body, entry, name, request)
    if body.upto(1):
        raise ProtocolError("the answer has more bytes than its tensors need")
    return InferReply(outputs, member(answer, "parameters", dict, "the answer", default={}))


def check_reply(reply: InferReply, request: InferRequest) -> InferReply:
    """For all transports: the requested outputs are there, and fit the request and each other."""
    for name in request.outputs:
        if name in request.places:
            continue
        array = reply.outputs.get(name)
        if array is None:
            raise ProtocolError(f"the answer lacks the output {name}")
        _check_form(name, array.shape, array.dtype, request)
    indices, values = reply.outputs.get("gradient_indices"), reply.outputs.get("gradient_values")
    if indices is not None and values is not None:
        main = _main(request)
        if indices.shape != values.shape:
            raise ProtocolError(f"the answer has {indices.size} gradient_indices and {values.size} gradient_values")
        if indices.size and not (0 <= indices.min() and indices.max() < math.prod(main or ())):
            raise ProtocolError(f"the answer has gradient_indices outside of the input's {math.prod(main or ())} elements")
    return reply


def _read_output(body: Body, entry: Mapping[str, Any], name: str, request: InferRequest) -> NDArray[Any]:
    shape = _shape(entry, name)
    try:
        kind = dtype_of(member(dict(entry), "datatype", str, f"the output {name}"))
    except KeyError:
        raise ProtocolError(f"the output {name} is of datatype {brief(entry['datatype'])}") from None
    _check_form(name, shape, kind, request)
    parameters = member(dict(entry), "parameters", dict, f"the output {name}", default={})
    if "data" in entry:
        if "binary_data_size" in parameters:
            raise ProtocolError(f"the output {name} has both data and binary_data_size")
        return _from_data(member(dict(entry), "data", list, f"the output {name}"), shape, kind, name)
    size, needed = member(parameters, "binary_data_size", int, f"the output {name}"), math.prod(shape) * kind.itemsize
    if size != needed:
        raise ProtocolError(f"the output {name} has {size} bytes; its shape {list(shape)} needs {needed}")
    array = np.empty(shape, kind)  # no larger than what was requested
    _fill(body, array)
    return array


def _shape(entry: Mapping[str, Any], name: str) -> tuple[int, ...]:
    shape = member(dict(entry), "shape", list, f"the output {name}")
    if not 1 <= len(shape) <= 2 or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise ProtocolError(f"the output {name} has a shape that is not of one or two whole numbers")
    return tuple(shape)


def _from_data(flat: list[Any], shape: tuple[int, ...], kind: np.dtype[Any], name: str) -> NDArray[Any]:
    """An array from JSON numbers: flat, or nested as its shape. null is NaN."""
    if flat and all(type(row) is list for row in flat):
        if len(shape) != 2 or len(flat) != shape[0] or any(len(row) != shape[1] for row in flat):
            raise ProtocolError(f"the output {name} has data that is not nested as its shape {list(shape)} is")
        flat = [value for row in flat for value in row]
    if len(flat) != math.prod(shape):
        raise ProtocolError(f"the output {name} has {len(flat)} numbers; its shape {list(shape)} needs {math.prod(shape)}")
    if not all(type(value) in _NUMBERS or (type(value) is str and value in _INFINITIES) for value in flat):
        raise ProtocolError(f"the output {name} has data that is not of numbers")
    if kind.kind == "i" and not all(type(value) is int and abs(value) < 2**63 for value in flat):
        raise ProtocolError(f"the output {name} has data that is not of whole numbers")
    try:
        return np.array(flat, kind).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise ProtocolError(f"the output {name} has data that is not of numbers") from error


def _fill(body: Body, array: NDArray[Any]) -> None:
    if array.nbytes:
        body.fill(array.reshape(-1).view(np.uint8).data)


def _main(request: InferRequest) -> tuple[int, ...] | None:
    """The shape of the ranked input; None if the request has none."""
    return next((t.shape for t in request.inputs if t.name in ("scores", "embeddings")), None)


def _most_items(request: InferRequest) -> int:
    """An output has no more elements than the largest input; a list without items has a loss,
    too."""
    return max((max(math.prod(t.shape), *t.shape) for t in request.inputs), default=0)


def _check_form(name: str, shape: tuple[int, ...], kind: np.dtype[Any], request: InferRequest) -> None:
    wanted = dtype_of(_DATATYPES.get(name, "FP32"))
    if kind != wanted:
        raise ProtocolError(f"the output {name} is of type {kind}; it must be {wanted}")
    main = _main(request)
    references = next((t.shape for t in request.inputs if t.name == "ref_embeddings"), None)
    expected = {"loss": (1,), "gradient": main, "ranks": main, "ref_gradient": references}.get(name)
    if expected is not None and shape != expected:
        raise ProtocolError(f"the output {name} has the shape {list(shape)}; it must be {list(expected)}")
    if expected is None and (len(shape) != 1 or shape[0] > _most_items(request)):
        raise ProtocolError(f"the output {name} has the shape {list(shape)}; it must be one dimension of at most "
                            f"{_most_items(request)}")
