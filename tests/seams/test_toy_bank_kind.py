# SPDX-License-Identifier: Apache-2.0
"""A kind of bank is one file and one row: a toy kind in a copy of the tree is built, and used over
HTTP."""
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import conftest
import own_make

sys.path.append(str(Path(__file__).parents[1] / "process"))
from support_bank import BankDaemon, Refused, tensor  # noqa: E402

ROOT = Path(__file__).parents[2]

# Scores that are kept as whole numbers, and an unused column.
TOY = r"""
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bank/kind.h"
#include "kernels/score.h"
#include "request/target.h"

static size_t toy_columns(const struct rk_bank_shape *shape, struct rk_bank_column column[RK_BANK_COLUMNS])
{
    column[0] = (struct rk_bank_column){.bytes = sizeof(float), .lists = shape->lists};
    column[1] = column[2] = (struct rk_bank_column){.bytes = 1, .lists = shape->lists};
    return 3;
}

static enum rankd_status read_toy(const struct rk_bank_shape *shape, const struct rk_request *request,
                                  struct rk_batch *batch, struct rk_err *err)
{
    const struct rk_tensor *scores = &request->in[RK_IN_SCORES], *targets = &request->in[RK_IN_TARGETS];
    size_t lists = scores->shape[0], items = scores->shape[1];
    if (lists != shape->lists)
        return rk_fail(err, RANKD_INVALID, "scores has %zu lists; the bank has %zu", lists, shape->lists);
    if (rk_batch_take(shape, items, batch, err) != RANKD_OK)
        return err->status;
    rk_targets_narrow(targets->data, targets->dtype, RK_TARGET_BINARY, lists * items, batch->column[1]);
    for (size_t i = 0; i < lists * items; i++)
        ((float *)batch->column[0])[i] = rintf(rk_score_at(scores->data, scores->dtype, i));
    memset(batch->column[2], 0, lists * items);
    return RANKD_OK;
}

static void show_toy_chunk(const struct rk_chunk *chunk, size_t first, size_t items, void *views, size_t at)
{
    ((struct rk_bank_scores_chunk *)views)[at] =
        (struct rk_bank_scores_chunk){.items = items,
                                      .stride = chunk->room,
                                      .scores = (const float *)chunk->column[0] + first,
                                      .targets = (const int8_t *)chunk->column[1] + first};
}

static void show_toy(const struct rk_bank_shape *shape, const void *views, size_t chunks,
                     struct rk_bank_snapshot *view)
{
    view->scores = (struct rk_bank_scores){.lists = shape->lists, .chunks = chunks, .chunk = views};
}

const struct rk_bank_kind rk_bank_kind_toy = {
    .name = "toy",
    .number = 4711,
    .holds = RK_BANK_HOLDS_SCORES,
    .field = {{"queues", RK_BANK_FIELD_COUNT, offsetof(struct rk_bank_shape, lists), .min = 1, .max = 9},
              {"playful", RK_BANK_FIELD_FLAG, offsetof(struct rk_bank_shape, normalize), .preset = true}},
    .dtypes = RK_BANK_DTYPE(RK_FP32),
    .dtypes_text = "FP32",
    .columns = toy_columns,
    .read = read_toy,
    .view_bytes = sizeof(struct rk_bank_scores_chunk),
    .show_chunk = show_toy_chunk,
    .show = show_toy,
};
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The folder of a daemon that knows the toy kind. Only its file and its row are added to the
    tree."""
    tree = tmp_path_factory.mktemp("toy") / "tree"
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z"], check=True,
                           capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    (tree / "lib/bank/toy.c").write_text(TOY)
    with open(tree / "lib/bank/kinds.def", "a", encoding="utf-8") as rows:
        rows.write("RK_BANK_KIND(toy)\n")
    compiler = "ccache gcc" if shutil.which("ccache") else "gcc"
    subprocess.run(["make", "-C", tree, "-j2", f"CC={compiler}", "build/rankd"], check=True, stdout=subprocess.DEVNULL,
                   env=own_make.environment())
    yield tree / "build"
    shutil.rmtree(tree)


@pytest.fixture
def toys(build, tmp_path, monkeypatch):
    monkeypatch.setattr(conftest, "BUILD", build)
    with BankDaemon(tmp_path) as daemon:
        yield daemon


BATCH = [[0.6, 1.4, 2.6, -0.4], [3.3, 0.2, 1.8, 0.9]], [[1, 0, 1, 0], [0, 1, 0, -1]]
ROUNDED = [[1.0, 1.0, 3.0, 0.0], [3.0, 0.0, 2.0, 1.0]]
PROBE = [[1.5, 0.7], [2.5, 0.1]], [[1, 0], [0, 1]]


def test_a_toy_kind_is_made_and_told_by_its_own_fields(toys):
    config = {"kind": "toy", "queues": 2, "capacity": 100}
    shown = toys.bank("toys", **config)
    assert {"playful": True, "datatype": "FP32", **config}.items() <= shown.items()
    with pytest.raises(Refused, match="exists with another configuration"):
        toys.bank("toys", **config, playful=False)
    for wrong, sentence in (({"kind": "toy", "capacity": 1}, "queues of the bank is missing; it must be a number from 1 to 9"),
                            ({"kind": "toy", "queues": 1, "capacity": 1, "lists": 1}, "lists"),
                            ({"kind": "toy", "queues": 1, "capacity": 1, "datatype": "FP16"}, "it must be FP32"),
                            ({"capacity": 1}, 'it must be "embeddings", "scores" or "toy"')):
        with pytest.raises(Refused, match=re.escape(sentence)):
            toys.bank("other", **wrong)


def test_a_toy_bank_is_ranked_written_restored_and_read_back(toys):
    toys.bank("toys", kind="toy", queues=2, capacity=6, durability="always")
    toys.bank("plain", kind="scores", lists=2, capacity=6)
    toys.scores("toys", *BATCH)
    toys.scores("plain", ROUNDED, BATCH[1])
    seen = [toys.scores(bank, *PROBE, enqueue=False) for bank in ("toys", "plain")]
    alone = toys.infer([tensor("scores", "FP32", [2, 2], sum(PROBE[0], [])),
                        tensor("targets", "INT8", [2, 2], sum(PROBE[1], []))])
    assert seen[0] == seen[1] and seen[0]["bank_items"] == 4 and seen[0]["loss"] != alone["loss"]

    toys.call("PUT", "/v2/banks/toys/checkpoints/early")
    toys.scores("toys", *BATCH)  # beyond the capacity: the window moves
    late = toys.scores("toys", *PROBE, enqueue=False)
    assert late["bank_items"] == 6 and late["loss"] != seen[0]["loss"]

    toys.kill()
    toys.start()
    assert toys.scores("toys", *PROBE, enqueue=False) == late
    assert toys.bank("toys")["playful"] is True
    toys.call("POST", "/v2/banks/toys/checkpoints/early/restore")
    again = toys.scores("toys", *PROBE, enqueue=False)
    assert (again["loss"], again["gradient"], again["bank_items"]) == (seen[0]["loss"], seen[0]["gradient"], 4)


def test_its_segments_bear_its_number(toys):
    toys.bank("toys", kind="toy", queues=1, capacity=6)
    (segment,) = Path(toys.data).glob("banks/toys/live-*/*.seg")
    assert struct.unpack_from("<II", segment.read_bytes(), 64)[1] == 4711


def test_a_daemon_without_the_kind_refuses_the_bank_in_one_sentence(toys, monkeypatch):
    toys.bank("toys", kind="toy", queues=1, capacity=6)
    toys.kill()
    monkeypatch.undo()
    toys.start()
    with pytest.raises(Refused, match="kind.*toy.*embeddings or scores"):
        toys.scores("toys", [[1.0]], [[1]])
    assert toys.bank("toys")["read_only"] is True
