# SPDX-License-Identifier: Apache-2.0
"""rankctl loss on files with several arrays: LETOR and .npz, as other programs write them; its
numbers are the client's."""
import json
import os
import resource
import struct
import subprocess
import zipfile

import numpy as np
import pytest
from test_rankctl import BUILD, rankctl

import rankd

LETOR = """# two queries
1 qid:10 1:0.1 3:0.9
0 qid:10 1:0.4 3:0.8
1 qid:10 3:0.3 # the last of this query
0 qid:7 1:5
1 qid:7 3:-2.5
"""
GRADES, OFFSETS = [1, 0, 1, 0, 1], [0, 3, 5]
SCORES = {1: [0.1, 0.4, 0, 5, 0], 3: [0.9, 0.8, 0.3, 0, -2.5]}
PLAIN = ("-p", "margin=0", "--json")


@pytest.fixture
def letor(tmp_path):
    (tmp_path / "test.txt").write_text(LETOR)
    return tmp_path / "test.txt"


def expected(daemon, scores, **options):
    with rankd.connect(daemon.url) as client:
        return client.loss("ap", np.float32(scores), GRADES, offsets=OFFSETS, margin=0.0, list_loss=True, **options)


def same(done, result):
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["loss"] == result.loss and said["lists"] == 2
    assert said["list_loss"] == [None if np.isnan(x) else float(x) for x in result.list_loss]


@pytest.mark.parametrize("feature", [1, 3])
def test_a_feature_of_a_letor_file_is_the_score(daemon, letor, tmp_path, feature):
    done = rankctl("loss", "--feature", feature, letor, *PLAIN, "--gradient", tmp_path / "g.npy", url=daemon.url)
    result = expected(daemon, SCORES[feature])
    same(done, result)
    gradient = np.load(tmp_path / "g.npy")
    assert gradient.shape == (5,) and np.array_equal(gradient, result.gradient)


def test_the_grades_of_a_letor_file_are_those_of_ndcg(daemon, tmp_path):
    (tmp_path / "graded.txt").write_text(LETOR.replace("1 qid:10 1:0.1", "4 qid:10 1:0.1").replace("1 qid:7", "2 qid:7"))
    options = ("-p", "gain=linear", "-p", "top_k=2", "-p", "lambda=5")
    with rankd.connect(daemon.url) as client:
        result = client.loss("ndcg", np.float32(SCORES[3]), [4, 0, 1, 0, 2], offsets=OFFSETS, margin=0.0, list_loss=True,
                             gain="linear", top_k=2, lambda_val=5.0)
    done = rankctl("loss", "--model", "ndcg", "-f", 3, tmp_path / "graded.txt", *options, *PLAIN, url=daemon.url)
    same(done, result)
    assert result.loss > 0
    done = rankctl("loss", "--model", "ap", "-f", 3, tmp_path / "graded.txt", *PLAIN, url=daemon.url)
    assert done.returncode != 0 and "targets[0] is 4; it may be 1 (relevant), 0 (irrelevant) or -1 (ignored)" in done.stderr


@pytest.mark.parametrize("form", ["column.csv", "row.csv", "vector.npy"])
def test_scores_of_a_letor_file_come_in_another(daemon, letor, tmp_path, form):
    scores = np.float32([0.5, 0.25, 0.75, 1, 2])
    path = tmp_path / form
    if form == "vector.npy":
        np.save(path, scores)
    else:
        path.write_text(("\n" if form == "column.csv" else ",").join(map(str, scores)) + "\n")
    same(rankctl("loss", path, letor, *PLAIN, url=daemon.url), expected(daemon, scores))


def test_letor_goes_over_shared_memory_too(make_daemon, letor, tmp_path):
    daemon = make_daemon("--socket", tmp_path / "s")
    over = [rankctl("loss", "-f", 3, letor, *PLAIN, *where, url=daemon.url) for where in ([], ["--socket", tmp_path / "s"])]
    same(over[0], expected(daemon, SCORES[3]))
    assert over[1].returncode == 0 and json.loads(over[0].stdout)["list_loss"] == json.loads(over[1].stdout)["list_loss"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("weighted", [False, True])
def test_npz_holds_a_whole_batch(daemon, tmp_path, save, weighted):
    more = {"list_weight": np.float32([3, 0.5])} if weighted else {}
    save(tmp_path / "b.npz", scores=np.float32(SCORES[3]), targets=np.int8(GRADES), offsets=np.int64(OFFSETS), **more)
    same(rankctl("loss", tmp_path / "b.npz", *PLAIN, url=daemon.url), expected(daemon, SCORES[3], **more))


def test_npz_of_a_matrix_is_the_two_files(daemon, tmp_path):
    scores, targets = np.random.default_rng(1).random((4, 9)), np.random.default_rng(2).random((4, 9)) < .3
    np.savez_compressed(tmp_path / "b.npz", scores=scores, targets=targets)
    np.save(tmp_path / "s.npy", scores)
    np.save(tmp_path / "t.npy", targets)
    one, two = (rankctl("loss", *files, *PLAIN, "--gradient", tmp_path / f"g{len(files)}.npy", url=daemon.url)
                for files in ([tmp_path / "b.npz"], [tmp_path / "s.npy", tmp_path / "t.npy"]))
    assert one.returncode == 0 and one.stdout == two.stdout, one.stderr
    assert np.array_equal(np.load(tmp_path / "g1.npy"), np.load(tmp_path / "g2.npy"))


def test_npz_from_a_pipe(daemon, tmp_path):
    np.savez(tmp_path / "b.npz", scores=np.float32(SCORES[3]), targets=np.int8(GRADES), offsets=np.int64(OFFSETS))
    (tmp_path / "pipe.npz").symlink_to("/dev/stdin")
    with (tmp_path / "b.npz").open("rb") as content, subprocess.Popen(["cat"], stdin=content, stdout=subprocess.PIPE) as cat:
        same(rankctl("loss", tmp_path / "pipe.npz", *PLAIN, url=daemon.url, stdin=cat.stdout), expected(daemon, SCORES[3]))


def test_npz_of_numpys_own_type(daemon, tmp_path):
    np.savez(tmp_path / "b.npz", scores=np.float64(SCORES[3]), targets=np.float64(GRADES), offsets=np.int64(OFFSETS),
             list_weight=np.float64([0.1, 3]))
    same(rankctl("loss", tmp_path / "b.npz", *PLAIN, url=daemon.url),
         expected(daemon, np.float64(SCORES[3]), list_weight=[0.1, 3]))


@pytest.mark.parametrize("whole", [np.int8, np.uint8, np.int32, np.int64])
def test_npz_of_integers(daemon, tmp_path, whole):
    scores, weight = [3, -1 if np.dtype(whole).kind == "i" else 1, 100, 5, 200 if whole is np.uint8 else 5], [7, 1]
    np.savez(tmp_path / "b.npz", scores=whole(scores), targets=np.int64(GRADES), offsets=whole(OFFSETS),
             list_weight=whole(weight))
    same(rankctl("loss", tmp_path / "b.npz", *PLAIN, url=daemon.url), expected(daemon, scores, list_weight=weight))
    np.save(tmp_path / "s.npy", whole([scores]))
    np.save(tmp_path / "t.npy", np.int8([GRADES]))
    done = rankctl("loss", tmp_path / "s.npy", tmp_path / "t.npy", *PLAIN, url=daemon.url)
    with rankd.connect(daemon.url) as client:
        assert json.loads(done.stdout)["loss"] == client.loss("ap", [scores], [GRADES], margin=0.0).loss, done.stderr


def test_a_metric_has_no_gradient_to_ask_for(make_daemon, letor, tmp_path):
    daemon = make_daemon("--socket", tmp_path / "s")
    with rankd.connect(daemon.url) as client:
        result = client.loss("hits", np.float32(SCORES[3]), GRADES, offsets=OFFSETS, margin=0.0, top_k=1, list_loss=True,
                             gradient=False)
    for where in ([], ["--socket", tmp_path / "s"]):
        asked = ("loss", "--model", "hits", "-f", 3, letor, "-p", "top_k=1", *where)
        same(rankctl(*asked, *PLAIN, url=daemon.url), result)
        shown = rankctl(*asked, url=daemon.url)
        assert shown.returncode == 0 and "list 1" in shown.stdout and "gradient" not in shown.stdout, shown.stderr
        done = rankctl(*asked, "-g", tmp_path / "g.npy", url=daemon.url)
        assert done.returncode == 1 and "output gradient is not one of model hits; it has loss and list_loss" in done.stderr
        done = rankctl("loss", "--model", "hits", "-f", 3, letor, "-p", "gain=linear", *where, url=daemon.url)
        assert done.returncode == 1 and "gain" in done.stderr and "output" not in done.stderr, done.stderr
        done = rankctl("bench", "--model", "hits", "--duration", "0.05", "--items", "50", *where, url=daemon.url)
        assert done.returncode == 0, done.stderr


def bomb(path, declared):
    """A deflated member that declares `declared` bytes and inflates from 256 KiB to 256 MiB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scores.npy", b"\0" * (256 << 20))
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\1\2")
    struct.pack_into("<I", content, at + 24, declared)
    path.write_bytes(content)


@pytest.mark.parametrize("declared, sentence", [(1000, "scores.npy damaged"), (0xfffffff0, "scores.npy damaged")])
def test_a_member_that_lies_of_its_size_takes_no_memory_for_it(tmp_path, declared, sentence):
    bomb(tmp_path / "b.npz", declared)
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))  # noqa: E731
    if any(name in (BUILD / "rankctl").read_bytes() for name in (b"__asan_init", b"__tsan_init")):
        limit = None  # a sanitizer reserves terabytes of addresses; AddressSanitizer bounds what is allocated at a time
    environment = os.environ | {"ASAN_OPTIONS": "max_allocation_size_mb=2048"}
    done = subprocess.run([BUILD / "rankctl", "loss", tmp_path / "b.npz"], capture_output=True, text=True, preexec_fn=limit,
                          env=environment)
    assert done.returncode == 1 and sentence in done.stderr, done.stderr


@pytest.mark.parametrize("arrays, sentence", [
    ({"scores": np.zeros(3)}, "has no array targets"),
    ({"scores": np.zeros(3), "targets": np.zeros(3), "offset": np.zeros(1)}, "has an array offset.npy; it may have scores"),
    ({"scores": np.zeros((1, 3)), "targets": np.zeros((1, 3)), "offsets": np.int64([0, 3])}, "scores, with offsets, has 2 "
                                                                                             "dimensions; it must have 1"),
    ({"scores": np.zeros(3), "targets": np.zeros(3), "list_weight": np.zeros((1, 1))}, "list_weight has 2 dimensions; it must "
                                                                                       "have 1"),
    ({"scores": np.array(["a"]), "targets": np.zeros(3)}, "b.npz: scores.npy holds elements of type"),
    ({"scores": np.float32([1, 2, 3]), "targets": np.int8([0, 1, 0]), "offsets": np.int64([0, 2])}, "offsets[1], the last, is 2"),
], ids=str)
def test_what_an_npz_has_wrong_is_named(daemon, tmp_path, arrays, sentence):
    np.savez(tmp_path / "b.npz", **arrays)
    done = rankctl("loss", tmp_path / "b.npz", url=daemon.url)
    assert done.returncode == 1 and sentence in done.stderr, done.stderr


def test_what_does_not_fit_is_named(daemon, letor, tmp_path):
    (tmp_path / "four.csv").write_text("1\n2\n3\n4\n")
    done = rankctl("loss", tmp_path / "four.csv", letor, url=daemon.url)
    assert done.returncode == 1 and "four.csv has 4 rows of 1; it must have one score for each of the 5 items" in done.stderr
    (tmp_path / "bad.txt").write_text("1 qid:1 1:2\n1 qid:x\n")
    done = rankctl("loss", "-f", 1, tmp_path / "bad.txt", url=daemon.url)
    assert done.returncode == 1 and "bad.txt, line 2: 'qid:x' is not qid:NUMBER" in done.stderr
    done = rankctl("loss", "-f", 99, letor, url=daemon.url)  # whose scores would all be 0
    assert done.returncode == 1 and "test.txt: --feature is 99, and no line has a feature of that number" in done.stderr
    (tmp_path / "not.npz").write_text("1 2 3")
    done = rankctl("loss", tmp_path / "not.npz", url=daemon.url)
    assert done.returncode == 1 and "not.npz is no whole zip file: its end record is missing" in done.stderr
    for wrong in ([letor], ["-f", "1", letor, letor], ["-f", "x", letor], ["-f", "-1", letor]):
        assert rankctl("loss", *wrong, url=daemon.url).returncode == 2
