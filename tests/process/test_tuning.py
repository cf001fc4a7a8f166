# SPDX-License-Identifier: Apache-2.0
"""--tuning: a file that fits the engine to the machine changes no result, and an unusable file ends the start."""
import subprocess

import numpy as np
import pytest
from ring_support import BUILD, Daemon

import rankd


def answer(*arguments):
    daemon = Daemon(*arguments)
    try:
        random = np.random.default_rng(1)
        scores, targets = random.random((3, 70_000), np.float32), (random.random((3, 70_000)) < 0.5).astype(np.int8)
        with rankd.connect(f"unix:{daemon.path}") as client:
            result = client.loss("ap", scores, targets, margin=0.0)
        return result.loss, result.gradient.tobytes()
    finally:
        daemon.stop()


def test_a_tuned_daemon_gives_the_same_bits(tmp_path):
    file = tmp_path / "tuning"
    file.write_text("compare = 8\nmerge = 16384\nbuckets = 4096\nfar = 65536\ngrain = 4096\n")
    assert answer("--tuning", str(file)) == answer()


@pytest.mark.parametrize("check", [[], ["--check-config"]])
def test_a_file_that_can_not_be_used_ends_the_start_with_one_sentence(tmp_path, check):
    file = tmp_path / "tuning"
    file.write_text("# mine\ngrain = 5000\n")
    done = subprocess.run([BUILD / "rankd", "--http", "127.0.0.1:0", "--tuning", str(file), *check], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == (f"rankd: {file}:2: grain is \"5000\"; it may be 131072 or a power of two from 4096 to 1073741824\n")
