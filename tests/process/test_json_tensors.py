# SPDX-License-Identifier: Apache-2.0
"""Tensors in JSON: nested as their shape says or not at all, and the numbers that JSON has no form
for."""
import json

import pytest
from support_http import infer


def request(shape, scores, targets=None, datatype="FP32"):
    rows, columns = shape if len(shape) == 2 else (1, shape[0])
    flat = [0] * (rows * columns) if targets is None else targets
    return {"inputs": [{"name": "scores", "shape": shape, "datatype": datatype, "data": scores},
                       {"name": "targets", "shape": [rows, columns], "datatype": "INT8", "data": flat}]}


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]], ids=str)
def test_flat_and_nested_data_are_the_same_matrix(daemon, data):
    answer = infer(daemon, request([2, 3], data, [1, 0, 0, 0, 0, 1])).json()
    assert answer["outputs"][0]["data"] == infer(daemon, request([2, 3], [1, 2, 3, 4, 5, 6], [1, 0, 0, 0, 0, 1])).json()[
        "outputs"][0]["data"]


@pytest.mark.parametrize("data, words", [
    ([[1, 2], [3, 4], [5, 6]], ["nested", "the outer array has 3 elements, and not 2", "[2, 3]"]),
    ([[1, 2, 3, 4, 5, 6]], ["nested", "the outer array has 1 element, and not 2"]),
    ([[1, 2], [3, 4, 5, 6]], ["nested", "an array of level 2 has 2 elements, and not 3"]),
    ([[1, 2, 3], 4, 5, 6], ["nested", "the outer array has 4 elements, and not 2"]),
    ([[[1, 2, 3]], [[4, 5, 6]]], ["nested", "an array of level 2 has 1 element, and not 3"]),
    ([[[1, 2, 3], [4, 5, 6]]], ["nested", "the outer array has 1 element, and not 2"]),
    ([[1, 2, 3], [4, 5]], ["5 elements", "takes 6"]),
    ([1, 2, 3, 4, 5, 6, []], ["nested", "the outer array has 7 elements, and not 2"]),
    ([[1], [2, 3, 4, 5, 6]], ["nested", "an array of level 2 has 1 element, and not 3"]),
    ([[1, 2, 3], 4], ["4 elements", "takes 6"]),
    ([1], ["has 1 element; its shape takes 6"]),
    ([[1, 2, 3], [4, 5, [6]]], ["nested", "an array is where the shape has a number"]),
], ids=str)
def test_nesting_that_is_not_the_shapes_is_refused(daemon, data, words):
    answer = infer(daemon, request([2, 3], data))
    assert answer.status == 400 and "data of input scores" in answer.error, answer.body
    assert all(word in answer.error for word in words), answer.error


def test_a_vector_has_no_rows(daemon):
    labels = {"name": "labels", "shape": [2], "datatype": "INT64", "data": [[1], [1]]}
    answer = infer(daemon, {"inputs": [{"name": "embeddings", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]},
                                       labels]})
    assert answer.status == 400 and "data of input labels is nested otherwise than its shape [2]" in answer.error


@pytest.mark.parametrize("shape, data", [([0, 3], [[]]), ([2, 0], [[]]), ([2, 0], [[], [], []]), ([2, 0], [[[]], [[]]])], ids=str)
def test_nothing_is_nested_as_its_shape_too(daemon, shape, data):
    answer = infer(daemon, request(shape, data, []))
    assert answer.status == 400 and "nested" in answer.error


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_infinities_are_scores_and_null_is_nan(daemon, datatype):
    def losses(scores, targets):
        return infer(daemon, request([1, 4], scores, targets, datatype) | {"outputs": [{"name": "loss"}]})

    first = losses(["Infinity", 0.5, "-Infinity", 0.25], [1, 0, 0, 0])
    assert first.json()["outputs"][0]["data"] == [0]
    last = losses(["Infinity", 0.5, "-Infinity", 0.25], [0, 0, 1, 0])
    assert last.json()["outputs"][0]["data"] == [0.75]
    assert losses(["Infinity", 0.5, None, 0.25], [1, 0, -1, 0]).json()["outputs"][0]["data"] == [0]
    refused = losses([None, 0.5, 0.1, 0.25], [1, 0, 0, 0])
    assert refused.status == 400 and "scores[0, 0] is NaN" in refused.error


@pytest.mark.parametrize("word", ["infinity", "inf", "+Infinity", "NaN", "Infinity ", "1", ""])
def test_other_words_are_no_numbers(daemon, word):
    answer = infer(daemon, request([1, 2], [0.5, word]))
    assert answer.status == 400 and f'"{word}"' in answer.error and '"-Infinity"' in answer.error


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
@pytest.mark.parametrize("digits", ["20000000000000000000", "-9223372036854775809", "1" + "0" * 30], ids=len)
def test_whole_numbers_of_any_size_are_scores(daemon, datatype, digits):
    """As clients in Go and JavaScript write them: without a point and an exponent."""
    whole, point = (infer(daemon, request([1, 3], [0.5, number, -0.5], [1, 0, 0], datatype))
                    for number in (int(digits), float(digits)))
    assert whole.status == point.status == 200, whole.body
    assert whole.json()["outputs"] == point.json()["outputs"]


def test_whole_numbers_beyond_64_bits_are_no_integers(daemon):
    answer = infer(daemon, request([1, 2], [0.5, 2.5], [0, 1 << 64], "FP32"))
    assert answer.status == 400 and "input targets has 18446744073709551616 at position 1" in answer.error


def test_a_nul_is_no_space(daemon):
    good = json.dumps(request([1, 2], [0.5, 2.5]))
    for text in (good.replace("2.5", "2.5\0"), good + "\0", good.replace("[0, 0]", "[0, \0 0]"), "\0" + good):
        answer = infer(daemon, text.encode())
        assert answer.status == 400 and f"its byte {text.index(chr(0))} is NUL" in answer.error, answer.body


def test_an_infinity_is_no_target(daemon):
    answer = infer(daemon, request([1, 2], [0.5, 0.25], ["Infinity", 0]))
    assert answer.status == 400 and '"Infinity"' in answer.error


def test_what_is_refused_is_shown_as_the_number_it_was(daemon):
    assert "has 2.5 at position 1" in infer(daemon, request([1, 2], [0.5, 0.25], [0, 2.5])).error
    answer = infer(daemon, {"inputs": [], "id": 4.0})
    assert answer.status == 400 and "id is 4.0; it must be a string" in answer.error
