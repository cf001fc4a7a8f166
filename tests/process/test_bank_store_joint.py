# SPDX-License-Identifier: Apache-2.0
"""A job whose ranks have daemons of their own that share one bank in a store: one append per step,
one version for all ranks."""
import sys
from pathlib import Path

import pytest
from support_store import place, share, stores, wait_until  # noqa: F401

sys.path.append(str(Path(__file__).resolve().parents[1] / "python"))

import torch  # noqa: E402
from crew import Crew  # noqa: E402
from joint_tasks import answer, batch  # noqa: E402

import rankd  # noqa: E402
from rankd.torch import RetrievalLoss  # noqa: E402

SIZES = [11, 6]


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    with Crew(2, tmp_path_factory.mktemp("crew")) as one:
        yield one


@pytest.mark.parametrize("mode", [True, "balanced"])
# noqa: F811
def test_each_step_is_in_the_store_once_and_every_rank_reads_the_version_before(crew, stores, share, make_daemon, mode):
    store, alone = stores(), make_daemon()
    daemons = [share(store) for _ in range(2)]
    kind = {"kind": "embeddings", "dim": 16, "capacity": 64}
    for daemon in daemons:
        daemon.bank("b", **kind)
    wholes = [{name: batch(seed, sum(SIZES))[name] for name in ("embeddings", "labels")} for seed in range(12)]
    with rankd.connect(alone.url) as client:
        client.banks.create("b", dim=16, capacity=64, durability="none")
        crit = RetrievalLoss(client=client, bank_start=0, bank="b")
        expected = [answer(crit, whole, 2) for whole in wholes]
    found = crew.run("joint_tasks.steps", [d.url for d in daemons], wholes, SIZES, SIZES, {"bank": "b", "bank_start": 0}, None,
                     mode)
    for rank, steps in enumerate(found):
        start = sum(SIZES[:rank])
        for mine, whole in zip(steps, expected):
            for name in ("bank_version", "bank_items", "bank_version_appended"):
                assert mine["info"][name] == whole["info"][name]
            assert mine["loss"] == pytest.approx(whole["loss"], rel=1e-5)
            torch.testing.assert_close(mine["embeddings"], whole["embeddings"][start:start + SIZES[rank]], rtol=1e-3, atol=1e-6)
    wait_until(lambda: place(daemons[0], "b") == place(daemons[1], "b"))  # with the chain: the same contents
    assert place(daemons[0], "b")[1] == 12
