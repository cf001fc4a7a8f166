"""The device code itself, without a card: the plugin's own sources run on an emulated one (tests/gpu/emulator) and are compared
with the CPU engine, gradients bit for bit. Streams, blocks and threads take another order with each seed. What a card alone
can tell (times, what its compiler makes of it) is `make check-gpu`'s."""
import os
import subprocess

import pytest
from conftest import BUILD

PLUGIN = BUILD / "emulated-card.so"


def check(runs, seed, items, **env):
    return subprocess.run([BUILD / "gpu-check", PLUGIN, str(runs), str(seed), str(items)], capture_output=True, text=True,
                          timeout=600, env=os.environ | env | {"EMULATED_CARD_SEED": str(seed)})


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_card_gives_what_the_cpu_gives(seed):
    done = check(30, seed, 40000)
    assert done.returncode == 0 and " passed, 0 failed" in done.stdout, done.stdout + done.stderr
    assert done.stdout.startswith("on an emulated card")


@pytest.mark.parametrize("plan", ["malloc:4", "malloc:9+", "sgemm:5", "cublasCreate:1", "pinned:2"])
def test_what_fails_there_changes_no_result(plan):
    """But where it was computed, which is what this program then complains about."""
    done = check(4, 5, 20000, EMULATED_CARD=plan)
    wrong = [line for line in done.stdout.splitlines() if line.startswith("FAILED") and "it did not run on the card" not in line]
    assert done.returncode in (0, 1) and not wrong, done.stdout + done.stderr
