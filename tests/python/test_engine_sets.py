# SPDX-License-Identifier: Apache-2.0
"""RANKD_CPU selects the code that computes. The answer is the same to the bit; an unknown name is
refused at the start."""
import subprocess

import numpy as np
import pytest
from support import BUILD

import rankd


def ask(daemon):
    rng = np.random.default_rng(11)
    scores = np.round(rng.standard_normal((300, 400)), 2).astype(np.float32)  # ties too
    targets = rng.choice([-1, 0, 0, 0, 0, 1], (300, 400)).astype(np.int8)
    with rankd.connect(daemon.url, timeout=60) as client:
        return [client.loss("recall", scores, targets, margin=0.05, axis=axis, interclass=0.25) for axis in (0, 1)]


@pytest.mark.parametrize("cpu", ["reference", "scalar"])
def test_forced_code_answers_what_the_best_one_answers(make_daemon, daemon, cpu):
    for forced, best in zip(ask(make_daemon(env={"RANKD_CPU": cpu})), ask(daemon)):
        assert forced.loss == best.loss
        np.testing.assert_array_equal(forced.gradient, best.gradient)
        assert np.count_nonzero(best.gradient) > 0


def test_a_misspelt_name_is_refused_at_the_start(monkeypatch, tmp_path):
    monkeypatch.setenv("RANKD_CPU", "avx9")
    done = subprocess.run([BUILD / "rankd", "--http", "127.0.0.1:0"], capture_output=True, text=True, timeout=20, cwd=tmp_path)
    assert done.returncode == 2
    assert 'RANKD_CPU is "avx9"; it may be reference, scalar, avx2 or avx512' in done.stderr
