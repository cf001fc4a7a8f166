# SPDX-License-Identifier: Apache-2.0
"""Short forms of the recipes, one seed each, on real data: claims that hold in every run. `make
recipes` supports the claims over several seeds.

Skipped if the data are neither below RANKD_RECIPE_DATA nor can be fetched; if RANKD_RECIPE_DATA is
set they must be there.
"""
import importlib
import json
import math
import os
import sys
from pathlib import Path

import pytest
import torch

import rankd

RECIPES = Path(__file__).parents[2] / "recipes"
sys.path.append(str(RECIPES))

from kit.criteria import criterion, nt_xent  # noqa: E402
from kit.data import MissingData  # noqa: E402
from kit.embed import embed, network, quality, train  # noqa: E402
from kit.runs import Results, Table, complete  # noqa: E402


@pytest.fixture
def client(daemon):
    with rankd.connect(daemon.url, timeout=60, retry_for=0) as one:
        yield one


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data_of(get, *arguments):
    try:
        return get(*arguments)
    except MissingData as missing:
        if os.environ.get("RANKD_RECIPE_DATA"):
            raise
        pytest.skip(f"no data: {missing}")


@pytest.fixture(scope="module")
def characters():
    """To train on; and every third character of the unseen alphabets."""
    from omniglot.data import for_test

    data, held_out = data_of(for_test)
    third = held_out.labels % 3 == 0
    return data, type(held_out)(held_out.pixels[third], held_out.labels[third])


def retrieval(client, characters, **settings):
    with criterion({"loss": "recall", "weight": "log", "margin": 0.2, "gradient_scale": "unit", **settings}, client) as loss:
        return train(loss, *characters, batch=32, steps=240, seed=0, evaluations=1)["mAP"]


def test_unseen_characters_are_found_and_a_bank_does_no_harm(client, characters):
    torch.manual_seed(0)
    untrained, _ = quality(embed(network(), characters[1].pixels), characters[1].labels)
    without = retrieval(client, characters)
    assert without > untrained + 10, "in percent mAP: training has to help on alphabets that were never seen"
    assert retrieval(client, characters, bank=512, bank_start=120) > without - 3


def test_ideas_change_the_plain_loss_in_what_they_say(client):
    """The fading scale begins as the unit scale, and an infinite temperature weighs all items
    alike; every other idea gives another gradient."""
    from omniglot.recipe import IDEAS, LARGE_IDEAS

    draw = torch.Generator().manual_seed(4)
    embeddings, labels = torch.randn(24, 8, generator=draw), torch.arange(24) % 6

    def gradient(**settings):
        given = embeddings.clone().requires_grad_()
        with criterion({"loss": "idea", **settings}, client) as loss:
            for _ in range(3):  # the margin grows, and λ and the scale move
                value = loss(given, labels, torch.arange(24))
            value.backward()
        return given.grad

    plain = gradient(idea="plain", margin_warmup=0)
    assert plain.abs().sum() > 0
    assert torch.allclose(gradient(idea="soft", temperature=1e6, margin_warmup=0), plain, atol=1e-6)
    still = gradient(idea="plain")  # in the third step of 100
    assert torch.allclose(gradient(idea="decay", steps=10 ** 9), still, atol=1e-6)
    for name, settings in {**IDEAS, **LARGE_IDEAS}.items():
        if settings["loss"] == "idea":
            found = gradient(**{key: value for key, value in settings.items() if key != "loss"})
            assert found.isfinite().all() and found.abs().sum() > 0 and not torch.equal(found, still), name


def test_nt_xent_is_what_its_pairs_say():
    draw = torch.Generator().manual_seed(6)
    embeddings = torch.randn(20, 8, generator=draw, dtype=torch.float64).requires_grad_()
    labels, temperature = torch.arange(20) % 6, 0.2
    share = torch.exp(torch.nn.functional.cosine_similarity(embeddings[:, None], embeddings[None], dim=2) / temperature)
    terms = [-torch.log(share[i, j] / (share[i, j] + share[i][labels != labels[i]].sum()))
             for i in range(20) for j in range(20) if i != j and labels[i] == labels[j]]
    value, expected = nt_xent(embeddings, labels, temperature=temperature), torch.stack(terms).mean()
    assert torch.allclose(value, expected)
    assert torch.allclose(*(torch.autograd.grad(x, embeddings, retain_graph=True)[0] for x in (value, expected)))


def test_no_class_of_a_detector_dies(client):
    from bccd.data import CLASSES, load as smears
    from bccd.recipe import classifier
    from bccd.training import Flips, train as train_detector

    data, held_out = data_of(smears, "train"), data_of(smears, "val")
    with classifier({"loss": "ap", "batches": 4, "bank_start": 40}, client) as classify:
        result = train_detector(classify, Flips(data), held_out, steps=100, seed=0)
    assert min(result[f"AP50 {name}"] for name in CLASSES) > 20


def test_documents_are_ranked(client):
    from ltr.data import for_test, ndcg
    from ltr.recipe import ranking
    from ltr.training import train as train_ranker

    data, held_out = data_of(for_test)
    result, _ = train_ranker(ranking(client, "ndcg", {"margin": 1.0}), data, held_out, steps=100, seed=0)
    alike = ndcg(torch.zeros(held_out.grades.shape), held_out.grades, 10)
    assert result["NDCG@10"] > alike + 5


def test_a_recipe_goes_on_where_it_was(tmp_path):
    """The seeds are the outer order, a result with other settings does not count, and the run of a
    process that died is taken over."""
    table = Table("a table", {"one": {"x": 1}, "two": {"x": 2}}, {"steps": 3}, seeds=2)
    runs, trained = table.runs(None), []
    assert [(run.row, run.seed) for run in runs] == [("one", 0), ("two", 0), ("one", 1), ("two", 1)]

    def train_one(run):
        trained.append((run.row, run.seed))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return {"value": run.seed}, None

    with pytest.raises(KeyboardInterrupt):
        list(complete(Results(tmp_path), runs, train_one, math.inf))
    assert trained == [("one", 0), ("two", 0), ("one", 1)]
    lock = runs[2].path(tmp_path).with_suffix(".lock")
    assert lock.read_text() == str(os.getpid())
    lock.write_text(str(2 ** 22 + 1))  # no process has such a number
    found = {(run.row, run.seed): result["value"] for run, result in complete(Results(tmp_path), runs, train_one, math.inf)}
    assert found == {("one", 0): 0, ("two", 0): 0, ("one", 1): 1, ("two", 1): 1} and len(trained) == 5
    changed = Table("a table", {"one": {"x": 5}}, {"steps": 3}, seeds=1).runs(None)[0]
    assert Results(tmp_path).of(runs[0]) is not None and Results(tmp_path).of(changed) is None
    assert list(complete(Results(tmp_path), [changed], train_one, -math.inf)) == []


def test_a_run_of_the_committed_results_is_done(tmp_path):
    """Where the folder of results was lost, the page's results.json stands for it, unless the
    settings are others now."""
    earlier, trained = tmp_path / "results.json", []
    runs = Table("a table", {"one": {"x": 1.0}, "two": {"x": (2, 3)}}, {"steps": 3}, seeds=1).runs(None)
    rows = {"one": 1, "two": [2, 3], "of an older recipe": 4}
    old = {"table": "a table", "seed": 0, "value": -1}
    earlier.write_text(json.dumps([{**old, "row": row, "settings": {"steps": 3, "loss": {"x": x}}} for row, x in rows.items()]))

    def train_one(run):
        trained.append((run.row, run.settings["loss"]["x"]))
        return {"value": len(trained)}, None

    def values(runs):
        return [result["value"] for _, result in complete(Results(tmp_path / "kept", earlier), runs, train_one, math.inf)]

    assert values(runs) == [-1, -1] and trained == []
    changed = Table("a table", {"one": {"x": 5}, "two": {"x": (2, 3)}}, {"steps": 3}, seeds=2).runs(None)
    assert values(changed) == [1, -1, 2, 3] and trained == [("one", 5), ("one", 5), ("two", (2, 3))]
    assert values(changed) == [1, -1, 2, 3] and len(trained) == 3
    assert values(runs) == [-1, -1], "the committed result is still there"
    assert Results(tmp_path / "kept").of(runs[1]) is None
    assert Results(tmp_path / "kept", tmp_path / "none.json").of(runs[0]) is None


@pytest.mark.parametrize("name", ["omniglot", "fashion", "bccd", "ltr"])
def test_every_committed_result_is_of_a_run_that_there_is(name):
    """A row or a setting that was renamed would be trained again, and its figures would vanish from
    the page."""
    recipe = importlib.import_module(f"{name}.recipe").RECIPE
    committed = recipe.folder / "results.json"
    kept = Results(Path("no such folder"), committed)
    done = [result for result in (kept.of(run) for table in recipe.tables for run in table.runs(None)) if result is not None]
    assert len(done) == len(json.loads(committed.read_text()))


def test_detections_are_counted_as_coco_does():
    """By hand: two boxes, three detections, of which the second finds nothing."""
    from bccd.data import Smears
    from bccd.evaluate import average_precision

    none = (torch.zeros(0, 4), torch.zeros(0))
    truth = Smears(torch.zeros(1, 3, 1, 1), [torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])], [torch.tensor([0, 0])])
    boxes = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 30, 26]])
    found = [[(boxes, torch.tensor([3.0, 2.0, 1.0])), none, none]]
    result = average_precision(found, truth)
    # Recalls up to 0.5 with precision 1 (51 of 101), the others with 2/3; from IoU 0.65 on the
    # third box no longer fits.
    half, full = 51 / 101, 51 / 101 + 50 / 101 * 2 / 3
    assert result["AP50 RBC"] == pytest.approx(100 * full, abs=0.01)
    assert result["AP"] == pytest.approx(100 * (3 * full + 7 * half) / 10 / 3, abs=0.01)


def test_peers_of_the_detection_recipe_agree_with_pairs():
    """The two AP-losses, which sort, against the errors of all pairs: with a step of width 0, and
    with a wide one."""
    from bccd.losses import ap_bucketed, ap_error_driven

    draw = torch.Generator().manual_seed(3)
    logits, classes = torch.randn(60, 3, generator=draw), torch.randint(-1, 3, (60,), generator=draw)
    for loss, arguments, width in ((ap_bucketed, {}, 0.0), (ap_error_driven, {"delta": 1e-9}, 0.0),
                                   (ap_error_driven, {"delta": 0.8}, 0.8)):
        given = logits.clone().requires_grad_()
        loss(given, classes, torch.zeros(60), **arguments).backward()
        assert torch.allclose(given.grad.flatten().double(), errors_of_pairs(logits, classes, width), atol=1e-6)


def errors_of_pairs(logits, classes, width):
    """The error-driven update of AP-loss, pair by pair."""
    wanted = torch.nn.functional.one_hot(classes + 1, 4)[:, 1:].flatten() > 0
    flat = logits.flatten().double()
    gradient, positives = torch.zeros(len(flat)).double(), torch.nonzero(wanted).squeeze(1)
    for i in positives.tolist():
        apart = flat - flat[i]
        ahead = ((apart / (2 * width) + 0.5).clamp(0, 1) if width else (apart > 0).double()).index_fill(0, torch.tensor([i]), 0.0)
        share = ahead * ~wanted / (1 + ahead.sum()) / len(positives)
        gradient += share
        gradient[i] -= share.sum()
    return gradient
