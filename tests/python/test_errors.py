# SPDX-License-Identifier: Apache-2.0
"""Each error is an exception of its own class, with the daemon's sentence and a remedy."""
import pickle
import warnings

import numpy as np
import pytest

import rankd
import rankd.errors
from support import Breaking, answering, free_port, http, silent

GOOD = ([[0.3, 0.2, 0.1]], [[0, 1, 0]])


def test_nan_is_refused_with_its_position(client):
    scores = np.zeros((2, 3), np.float32)
    scores[1, 2] = np.nan
    with pytest.raises(rankd.InvalidRequest) as caught:
        client.loss("ap", scores, [[0, 1, 0]] * 2)
    assert isinstance(caught.value, ValueError) and caught.value.code == 400
    assert "scores" in caught.value.sentence and "nan" in caught.value.sentence.lower() and "1" in caught.value.sentence


@pytest.mark.parametrize("options, named", [
    ({"lambda_val": 0.0}, "lambda"), ({"lambda_val": -1.0}, "lambda"), ({"lambda_val": 1e13}, "lambda"),
    ({"margin": -0.5}, "margin"),
    ({"average": "mean"}, "average"), ({"axis": 2}, "axis"), ({"interclass": 1.5}, "interclass"), ({"weight": "log"}, "weight"),
    ({"lambda_scope": "all"}, "lambda_scope"), ({"normalize": True}, "normalize"), ({"margin": "wide"}, "margin")], ids=str)
def test_a_wrong_parameter_is_named(client, options, named):
    with pytest.raises(rankd.InvalidRequest, match=named):
        client.loss("ap", *GOOD, **options)


def test_a_target_that_is_none_is_named(client):
    with pytest.raises(rankd.InvalidRequest, match="targets.*2"):
        client.loss("ap", [[0.3, 0.2]], [[0, 2]])


def test_shapes_that_differ_are_named(client):
    with pytest.raises(rankd.InvalidRequest, match="targets"):
        client.loss("ap", [[0.3, 0.2]], [[0, 1, 0]])
    with pytest.raises(rankd.InvalidRequest, match="scores"):
        client.loss("ap", np.zeros(4, np.float32), np.zeros(4, np.int8))


def test_scores_and_embeddings_at_once_are_refused(client):
    with pytest.raises(rankd.InvalidRequest):
        client.loss("ap", *GOOD, embeddings=np.ones((2, 4), np.float32), labels=[0, 0])


def test_an_unknown_model_is_not_found_and_the_nearest_name_is_told(client):
    with pytest.raises(rankd.NotFound, match="recall") as caught:
        client.loss("recal", *GOOD)
    assert caught.value.code == 404 and isinstance(caught.value, LookupError)


@pytest.mark.parametrize("name", ["", "..", "a/b", "ä", "a?b"])
def test_a_name_that_would_lead_elsewhere_never_leaves_the_client(client, name):
    with pytest.raises(rankd.NotFound, match="letters"):
        client.loss(name, *GOOD)
    with pytest.raises(rankd.NotFound, match="letters"):
        client.banks.get(name)


def test_an_unknown_bank_is_not_found(client):
    with pytest.raises(rankd.NotFound, match="nowhere"):
        client.loss("ap", embeddings=np.eye(4, dtype=np.float32), labels=[0, 0, 1, 1], bank="nowhere")


def test_a_bank_of_another_configuration_is_a_conflict(client, bank):
    with pytest.raises(rankd.Conflict, match="(?i)dim|configur"):
        client.banks.create(bank, dim=17, capacity=64, durability="none")


def test_what_numpy_cannot_send_is_refused_here_with_a_sentence(client):
    with pytest.raises(TypeError, match="scores is of type complex128"):
        client.loss("ap", [[1j, 2]], [[0, 1]])
    with pytest.raises(ValueError, match=r"targets\[0, 1\] is 1.000000000001; FP32, in which it would be sent, does not hold "
                                         r"that exactly"):
        client.loss("ap", [[1.0, 2.0]], [[0, 1 + 1e-12]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy's, of an overflow on the way to FP32
        with pytest.raises(ValueError, match=r"targets\[0, 1\] is 1e\+300; FP32, in which it would be sent, does not hold that "
                                             r"exactly"):
            client.loss("ap", [[1.0, 2.0]], np.float64([[0, 1e300]]))
    with pytest.raises(TypeError, match="scores is a single number"):
        client.loss("ap", 3.0, [[0, 1]])
    with pytest.raises(TypeError, match="labels is of type float64"):
        client.loss("ap", embeddings=[[1.0]], labels=[0.5])
    with pytest.raises(TypeError, match="scores and targets, or embeddings"):
        client.loss("ap")
    with pytest.raises(ValueError, match="lambda_val is nan"):
        client.loss("ap", *GOOD, lambda_val=float("nan"))
    with pytest.raises(ValueError, match="gradient is 'thin'"):
        client.loss("ap", *GOOD, gradient="thin")


@pytest.mark.parametrize("model, sentence", [("ap", r"targets\[1, 1\] is 0.3; it may be 1 \(relevant\)"),
                                             ("ndcg", r"targets\[1, 1\] is 0.3; it may be a whole grade")])
def test_a_fraction_is_refused_by_what_the_loss_takes(client, model, sentence):
    """In float64, which can't be sent, as in float32. A NaN before it is no fraction; it is named
    first only where it is wrong."""
    for dtype in (np.float64, np.float32):
        with pytest.raises(rankd.InvalidRequest, match=sentence):
            client.loss(model, np.zeros((2, 3)), np.array([[0, 1, 0], [1, 0.3, 0]], dtype))
    with pytest.raises(rankd.InvalidRequest, match=r"targets\[0, 0\] is NaN; it may be"):
        client.loss(model, np.zeros((2, 3)), np.array([[np.nan, 1, 0], [1, 0.3, 0]]))
    with pytest.raises(ValueError, match=r"scores\[0, 1\] is 0.1\d*; FP64, in which it would be sent, does not hold that exactly"):
        client.loss(model, np.array([[np.nan, np.longdouble(1) / 9, 0]]), [[0, 1, 0]])


def test_an_unsigned_number_is_never_taken_for_a_negative_one(client):
    """-1 is "ignored" among targets, "no id" among ids and "relevant to nothing" among labels."""
    for dtype in (np.uint32, np.uint64):
        with warnings.catch_warnings(), pytest.raises(ValueError, match=r"targets\[0, 1\] is (4294967295|18446744073709551615); "
                                                                        r"it may be (1 \(relevant|at most)"):
            warnings.simplefilter("error")  # numpy's, of a cast
            client.loss("ap", [[2.0, 1.0, 0.0]], np.array([[1, np.iinfo(dtype).max, 0]], dtype))
        assert client.loss("ap", [[2.0, 1.0]], np.array([[1, 0]], dtype)).loss == 0
    vectors, huge = np.eye(3, dtype=np.float32), np.array([1, 1, 2**64 - 1], np.uint64)
    for name, given in (("labels", {"labels": huge}), ("ids", {"labels": [1, 1, 2], "ids": huge})):
        with pytest.raises(ValueError, match=rf"{name}\[2\] is 18446744073709551615; it may be at most 9223372036854775807"):
            client.loss("ap", embeddings=vectors, **given)


def test_a_name_that_nothing_can_have_is_invalid_where_something_is_made(client, bank):
    with pytest.raises(rankd.InvalidRequest, match="bank is 'a/b'; names are of letters"):
        client.banks.create("a/b", dim=4, capacity=8)
    with pytest.raises(rankd.InvalidRequest, match="checkpoint is 'a b'; names are of letters"):
        client.banks.checkpoint(bank, "a b")


def test_hints_say_what_can_be_done_in_python(client, bank):
    with pytest.raises(rankd.NotFound, match=r"client\.banks\.create\(name, …\) makes a bank"):
        client.banks.get("nowhere")
    with pytest.raises(rankd.Conflict, match='"capacity":64 and not "capacity":65; .*another process may have made'):
        client.banks.create(bank, dim=16, capacity=65, durability="none")
    with pytest.raises(rankd.Conflict, match='"normalize":true and not "normalize":false;'):
        client.banks.create(bank, dim=16, capacity=64, durability="none", normalize=False)
    with pytest.raises(rankd.Conflict, match='"kind":"embeddings" and not "kind":"scores";'):
        client.banks.create(bank, kind="scores", lists=16, capacity=64)
    with pytest.raises(rankd.Conflict, match='"on_full":"refuse" and not "on_full":"memory";'):
        client.banks.create(bank, dim=16, capacity=64, durability="none", on_full="memory")


def test_integer_scores_are_sent_exactly_or_not_at_all(client):
    assert client.loss("ap", [[3, 2, 1]], [[1, 0, 0]]).loss == 0
    with pytest.raises(TypeError, match="scores is of type int64"):
        client.loss("ap", [[2**62 + 1, 2, 1]], [[1, 0, 0]])


def test_a_body_over_the_limit_says_what_the_limit_is(make_daemon):
    with rankd.connect(make_daemon("--body-bytes", "64K").url, retry_for=1) as client:
        with pytest.raises(rankd.TooLarge) as caught:
            client.loss("ap", np.zeros((10, 20_000), np.float32), np.ones((10, 20_000), np.int8))
        assert caught.value.code == 413
        assert client.loss("ap", *GOOD).loss > 0


def test_nobody_there_is_a_failed_connection_that_says_where(monkeypatch):
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(rankd.ConnectionFailed, match=url) as caught:
        rankd.connect(url, retry_for=0).metadata()
    assert isinstance(caught.value, ConnectionError) and "running" in caught.value.hint
    assert not rankd.connect(url).ready()


def test_a_daemon_that_says_nothing_is_a_timeout():
    with Breaking(silent) as server:
        with pytest.raises(rankd.RequestTimeout, match="0.3 s") as caught:
            rankd.connect(server.url, timeout=0.3, retry_for=5).loss("ap", *GOOD)
        assert isinstance(caught.value, TimeoutError) and server.connections == 1


@pytest.mark.parametrize("status, kind", [
    (400, rankd.InvalidRequest), (401, rankd.Unauthorized), (403, rankd.Forbidden), (404, rankd.NotFound), (405, rankd.WrongVerb),
    (409, rankd.Conflict), (413, rankd.TooLarge), (500, rankd.InternalError), (501, rankd.Unsupported), (503, rankd.Overloaded),
    (504, rankd.DeadlineExceeded), (507, rankd.NoSpace)])
def test_each_status_has_its_class_and_keeps_the_sentence(status, kind):
    with Breaking(answering(http(status, b'{"error": "the bank is full to the brim"}'))) as server:
        with pytest.raises(kind) as caught:
            rankd.connect(server.url, retry_for=0).loss("ap", *GOOD)
    assert caught.value.sentence == "the bank is full to the brim" and caught.value.code == status
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy), copy.code) == (kind, str(caught.value), status)


def test_an_answer_that_is_not_rankds_is_called_that():
    for reply in (http(200, b"<html>hello</html>"), http(302, b"moved"), http(200, b'{"outputs":[{"name":"loss"}]}'),
                  http(200, b'{"outputs":[]}')):
        with Breaking(answering(reply)) as server:
            with pytest.raises(rankd.ProtocolError, match="proxy"):
                rankd.connect(server.url, retry_for=0).loss("ap", *GOOD)


def test_addresses_and_settings_that_make_no_sense_are_refused():
    for url in ("127.0.0.1:8080", "ftp://host", "http://"):
        with pytest.raises(ValueError, match="url is"):
            rankd.connect(url)
    with pytest.raises(ValueError, match="timeout"):
        rankd.connect("http://h", timeout=0)
    with pytest.raises(ValueError, match="retry_for"):
        rankd.connect("http://h", retry_for=-1)


def test_url_and_token_come_from_the_environment(monkeypatch):
    with Breaking(answering(http(200, b'{"name":"rankd"}'))) as server:
        monkeypatch.setenv("RANKD_URL", server.url)
        monkeypatch.setenv("RANKD_TOKEN", "s3cret")
        assert rankd.connect().metadata()["name"] == "rankd"
        assert b"Authorization: Bearer s3cret\r\n" in server.requests[0]
