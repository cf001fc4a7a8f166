# SPDX-License-Identifier: Apache-2.0
"""The peers of the detection bench against their definition: loops over pairs in Python's own
numbers."""
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "bench"))

import detection  # noqa: E402


def by_definition(scores, wanted, step):
    """The mean over positives of 1 - precision, and the error of each item: what it adds to those,
    negative for positives."""
    positives = [i for i, w in enumerate(wanted) if w]
    error = [0.0] * len(scores)
    for i in positives:
        rank = 1 + sum(step(scores[j] - scores[i]) for j in range(len(scores)) if j != i)
        for j in range(len(scores)):
            if not wanted[j]:
                share = step(scores[j] - scores[i]) / rank / len(positives)
                error[i] -= share
                error[j] += share
    return -sum(error[i] for i in positives), error


@pytest.mark.parametrize("seed", range(20))
def test_the_loop_over_positives_is_the_ap_loss(seed):
    random = torch.Generator().manual_seed(seed)
    scores, wanted = torch.randn(30, generator=random) * 2, torch.rand(30, generator=random) < 0.3
    delta = 0.25 + seed / 10
    loss, error = detection.ap_loss_loop(scores, wanted, delta)
    expected, errors = by_definition(scores.tolist(), wanted.tolist(), lambda x: min(max(x / (2 * delta) + 0.5, 0), 1))
    assert loss == pytest.approx(expected, abs=1e-5)
    assert error.tolist() == pytest.approx(errors, abs=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_the_bucketed_loss_is_the_same_with_a_step_of_width_0(seed):
    random = torch.Generator().manual_seed(seed)
    scores, wanted = torch.randn(30, 1, generator=random).requires_grad_(), torch.rand(30, generator=random) < 0.3
    loss = detection.ap_bucketed(scores, torch.where(wanted, 0, -1), torch.empty(0))
    loss.backward()
    expected, errors = by_definition(scores[:, 0].tolist(), wanted.tolist(), lambda x: float(x > 0))
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    assert scores.grad[:, 0].tolist() == pytest.approx(errors, abs=1e-6)


def test_lists_of_classes_are_averaged_and_one_without_positives_has_no_error():
    logits, label = detection.draw(400, 20, 3)
    each = [detection.ap_loss_loop(logits[:, c], label == c)[0] for c in range(3)]
    assert detection.loop(logits, label) == pytest.approx(sum(each) / 3)
    empty, error = detection.ap_loss_loop(logits[:, 0], torch.zeros(400, dtype=torch.bool))
    assert empty == 0 and not bool(error.any())
