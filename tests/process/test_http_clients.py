# SPDX-License-Identifier: Apache-2.0
"""Requests as other clients of the protocol write them: recorded from kserve 0.21, mlserver 1.7 and
open-inference-openapi 2.0. `make check-clients` tests the packages themselves, because they take
minutes and 800 MB to install."""
import gzip
import json
import re
import struct

import pytest

from support_http import GOOD, ask, infer

LOSS = {"loss": [0.5], "gradient": [0.25, -0.25, 0.25, -0.25]}
SCORES = "[0.8999999761581421,0.800000011920929,0.699999988079071,0.6000000238418579]"
KSERVE = ('{"id":"39f525a1-a7f9-4c29-a85d-cd2be234b4c6","model_name":"ap","inputs":[{"name":"scores","shape":[1,4],"datatype":"FP32",'
          '"data":' + SCORES + '},{"name":"targets","shape":[1,4],"datatype":"INT8","data":[0,1,0,1]}],'
          '"parameters":{"lambda":1.0,"margin":0.0}}')
KSERVE_BINARY = ('{"id":"5da0f6c1-10a5-4f3c-bc0e-a7c68d90f90c","model_name":"ap","inputs":[{"name":"scores","shape":[1,4],'
                 '"datatype":"FP32","parameters":{"binary_data_size":16}},{"name":"targets","shape":[1,4],"datatype":"INT8",'
                 '"parameters":{"binary_data_size":4}}],"parameters":{"lambda":1.0,"margin":0.0}}')
MLSERVER = ('{"id":null,"parameters":{"content_type":"np","headers":null},"inputs":[{"name":"scores","shape":[1,4],"datatype":"FP32",'
            '"parameters":{"content_type":"np","headers":null},"data":' + SCORES + '},{"name":"targets","shape":[1,4],'
            '"datatype":"INT8","parameters":{"content_type":"np"},"data":[0,1,0,1]}],"outputs":null}')
OPEN_INFERENCE = ('{"id":null,"parameters":null,"inputs":[{"name":"scores","shape":[1.0,4.0],"datatype":"FP32","parameters":null,'
                  '"data":[[0.9,0.8,0.7,0.6]]},{"name":"targets","shape":[1.0,4.0],"datatype":"INT8","data":[[0.0,1.0,0.0,1.0]]}],'
                  '"outputs":[{"name":"loss","parameters":null},{"name":"gradient"}]}')


def outputs(answer):
    assert answer.status == 200, answer.body
    return {o["name"]: o["data"] for o in answer.json()["outputs"]}


@pytest.mark.parametrize("recorded", [KSERVE, MLSERVER, OPEN_INFERENCE])
def test_what_other_clients_send_is_computed(daemon, recorded):
    got = outputs(infer(daemon, recorded.encode()))
    assert got == LOSS
    assert json.loads(recorded).get("id") == infer(daemon, recorded.encode()).json().get("id")


def test_what_kserve_sends_in_binary_is_computed(daemon):
    header, tensors = KSERVE_BINARY.encode(), struct.pack("<4f4b", .9, .8, .7, .6, 0, 1, 0, 1)
    assert outputs(infer(daemon, header + tensors, [f"inference-header-content-length: {len(header)}"])) == LOSS


def changed(text, **members):
    return json.dumps(json.loads(text) | members).encode()


@pytest.mark.parametrize("members, words", [
    ({"model_name": "recall"}, ["model_name", "recall", '"ap"']), ({"model_name": 1}, ["model_name", "1"]),
    ({"model_version": "2"}, ["model_version", '"2"', '"1"']), ({"model_nam": "ap"}, ["model_nam", "model_name"]),
])
def test_a_model_in_the_body_must_be_the_one_in_the_url(daemon, members, words):
    answer = infer(daemon, changed(KSERVE, **members))
    assert answer.status == 400 and all(word in answer.error for word in words), answer.error
    for good in ({"model_name": None}, {"model_version": "1"}, {"model_version": None}):
        assert infer(daemon, changed(KSERVE, **good)).status == 200


@pytest.mark.parametrize("name", ["binary_data_sise", "shared_memory_ofset", "binary_data"])
def test_a_parameter_of_an_input_that_begins_as_ours_do_must_be_ours(daemon, name):
    document = json.loads(json.dumps(GOOD))
    document["inputs"][0]["parameters"] = {name: 4}
    answer = infer(daemon, document)
    assert answer.status == 400 and name in answer.error


def with_scores(data, shape, datatype="FP32", model="rank"):
    text = '{"inputs":[{"name":"scores","shape":%s,"datatype":"%s","data":%s}]}' % (shape, datatype, data)
    return text.encode(), f"/v2/models/{model}/infer"


@pytest.mark.parametrize("data, shape, good", [
    ("[1,2,3,4,5,6]", "[2,3]", True), ("[[1,2,3],[4,5,6]]", "[2,3]", True), ("[[1,2],[3,4],[5,6]]", "[2,3]", False),
    ("[[1,2,3,4,5,6]]", "[2,3]", False), ("[[[1,2,3],[4,5,6]]]", "[2,3]", False), ("[[1,2,3],4,5,6]", "[2,3]", False),
    ("[1,[2,3,4],5,6]", "[2,3]", False), ("[[1,2,3],[4,5],[6]]", "[2,3]", False),
    ("[[[1],[2],[3]],[[4],[5],[6]]]", "[2,3]", False),
    ("[[1,2,3],[[4,5,6]]]", "[2,3]", False), ("[[],[1,2,3,4,5,6]]", "[2,3]", False), ("[[1],[2]]", "[2,1]", True),
    ("[[1,2]]", "[2,1]", False),
])
def test_nested_data_has_the_nesting_of_its_shape(daemon, data, shape, good):
    body, path = with_scores(data, shape)
    answer = infer(daemon, body, path=path)
    assert answer.status == (200 if good else 400), answer.body
    assert good or ("scores" in answer.error and "shape" in answer.error)


def test_infinities_are_words(daemon):
    body, path = with_scores('["Infinity", 1, "-Infinity", 3.5]', "[1,4]", "FP64")
    assert outputs(infer(daemon, body, path=path)) == {"ranks": [1, 3, 4, 2]}
    for word in ('"infinity"', '"NaN"', '"inf"', '"1"', '""', "true"):
        body, path = with_scores(f"[{word}, 1]", "[1,2]")
        answer = infer(daemon, body, path=path)
        assert answer.status == 400 and "position 0" in answer.error and "Infinity" in answer.error, answer.error


@pytest.mark.parametrize("literal", ["4.5", "-0.5", "1e-3", "300", "300.0", "3e2", "9007199254740994.0", "1.50", "-129.0"])
def test_a_refused_number_is_shown_as_it_was_sent(daemon, literal):
    text = ('{"id":"1 \\" 2","inputs":[{"name":"scores","shape":[1,2],"datatype":"FP32","data":[-1.5e1,2]},'
            '{"name":"targets","shape":[1,2],"datatype":"INT8","data":[0,%s]}]}' % literal)
    answer = infer(daemon, text.encode())
    assert answer.status == 400 and f" {literal} at position 1" in answer.error, answer.error
    shape = '{"inputs":[{"name":"scores","shape":[-4.0,2],"datatype":"FP32","data":[]}]}'
    assert " -4.0 as dimension 0" in infer(daemon, shape.encode()).error
    bank = ask(daemon, "PUT", "/v2/banks/a", b'{"kind":"scores","lists":0.0,"capacity":1}')
    assert "lists" in bank.error and " 0.0;" in bank.error


@pytest.mark.parametrize(("name", "literal"), [
    ("axis", "4.0"), ("axis", "1.50"), ("lambda", "-4.0"), ("lambda", "0e0"), ("margin", "-0.50"), ("interclass", "1.10"),
    ("enqueue", "1.0"),
    ("average", "7.0"), ("bank", "4.0")])
def test_a_refused_parameter_is_shown_as_it_was_sent(daemon, name, literal):
    text = '{"parameters":{"%s":%s},"inputs":[]}' % (name, literal)
    answer = infer(daemon, text.encode())
    assert answer.status == 400 and f"parameter {name} was {literal}; it must be" in answer.error, answer.error


@pytest.mark.parametrize(("member", "entry", "shown"), [
    ("outputs", '"loss"', 'output 1 is "loss"'), ("outputs", "4.0", "output 1 is 4.0"), ("outputs", "null", "output 1 is null"),
    ("inputs", '"scores"', 'input 1 is "scores"'), ("inputs", "[1]", "input 1 is an array")])
def test_an_entry_that_is_no_object_is_shown_with_its_position(daemon, member, entry, shown):
    first = '{"name":"loss"}' if member == "outputs" else '{"name":"scores","shape":[1,1],"datatype":"FP32","data":[1]}'
    answer = infer(daemon, ('{"%s":[%s,%s]%s}' % (member, first, entry, ',"inputs":[]' if member == "outputs" else "")).encode())
    assert answer.status == 400 and answer.error.startswith(shown + "; it must be an object"), answer.error


@pytest.mark.parametrize(("member", "told"), [
    ('"kind":"Scores"', 'was "Scores"; it must be embeddings or scores'),
    ('"durability":"often"', 'was "often"; it must be always, interval or none'),
    ('"on_full":null', "was null; it must be refuse or memory"), ('"lits":1', 'did you mean "lists"?'),
    ('"dim":4', '"dim" is not known in the bank\'s configuration; it may have kind, ')])
def test_a_refused_configuration_is_told_what_it_may_be(daemon, member, told):
    kind = "" if "kind" in member else '"kind":"scores",'
    answer = ask(daemon, "PUT", "/v2/banks/told", ('{%s"lists":1,"capacity":10,%s}' % (kind, member)).encode())
    assert answer.status == 400 and told in answer.error, answer.error


@pytest.mark.parametrize("number", ["0.1", "-1.7", "3.4e+38", "Infinity"])
def test_a_number_that_became_fp32_is_shown_in_its_short_form(daemon, number):
    text = ('{"inputs":[{"name":"scores","shape":[1,2],"datatype":"FP32","data":[1,2]},{"name":"targets","shape":[1,2],"datatype":"FP32",'
            '"data":[0,%s]}]}' % (number if number != "Infinity" else f'"{number}"'))
    assert infer(daemon, text.encode()).error.startswith(f"targets[0, 1] is {number}; ")


def test_whole_numbers_may_be_written_as_floats(daemon):
    text = ('{"parameters":{"timeout":1e6,"binary_data_output":null},"inputs":['
            '{"name":"scores","shape":[1.0,4e0],"datatype":"FP32","parameters":{"binary_data_size":16.0}},'
            '{"name":"targets","shape":[1,4],"datatype":"BOOL","data":[0.0,1.0,false,true]}],'
            '"outputs":[{"name":"loss","parameters":{"binary_data":null}}]}').encode()
    answer = infer(daemon, text + struct.pack("<4f", .9, .8, .7, .6), [f"Inference-Header-Content-Length: {len(text)}"])
    assert outputs(answer) == {"loss": [0.5]}


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_gzip_of_several_members_is_read(daemon, cut):
    body = json.dumps(GOOD).encode()
    packed = gzip.compress(body[:cut]) + gzip.compress(body[cut:]) + gzip.compress(b"")
    assert outputs(infer(daemon, packed, ["Content-Encoding: gzip"])) == LOSS
    for tail in (b"x", b"\x1f", b"\x1f\x8b", gzip.compress(b" ")[:-1]):
        answer = infer(daemon, packed + tail, ["Content-Encoding: gzip"])
        assert answer.status == 400 and "gzip" in answer.error


def test_the_start_of_the_process_is_one_number(daemon):
    seen = {re.search(r"^process_start_time_seconds (\S+)$", ask(daemon, "GET", "/metrics").body.decode(), re.M)[1]
            for _ in range(60)}
    assert len(seen) == 1


def test_options_says_what_a_path_takes_and_an_absolute_target_is_its_path(daemon):
    assert ask(daemon, "OPTIONS", "/v2/models/ap/infer").headers["allow"] == "POST, OPTIONS"
    assert ask(daemon, "OPTIONS", "/v2").headers["allow"] == "GET, HEAD, OPTIONS"
    answers = [ask(daemon, "GET", path).json() for path in ("/v2", "http://localhost:8080/v2", "/v2/")]
    assert all(answer.pop("uptime_ms") >= 0 for answer in answers) and answers[0] == answers[1] == answers[2]
    answer = infer(daemon, b"x", ["Content-Encoding: br"])
    assert answer.status == 415 and "br" in answer.error
