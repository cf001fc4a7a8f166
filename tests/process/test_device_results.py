# SPDX-License-Identifier: Apache-2.0
"""The device code itself, without a device: the plugin's own sources run on an emulated one
(tests/gpu/emulator) and are compared with the CPU engine, gradients bit for bit. Streams, blocks
and threads take another order with each seed. Only `make check-gpu` on a device tests times and the
code of its compiler."""
import os
import re
import subprocess
import sys

import pytest
from conftest import BUILD

PLUGIN = BUILD / "emulated-device.so"


def sanitizer(file):
    """The runtime of a sanitizer that a program or library wants: "libasan", "libtsan", None."""
    found = re.search("lib[at]san", subprocess.run(["ldd", file], capture_output=True, text=True).stdout)
    return found and found[0]


def preload(runtime):
    """What a program without a sanitizer wants in its environment to load a library that is built
    with one."""
    # libstdc++ with it, because what it throws is to be seen too.
    libraries = [subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True).stdout.strip()
                 for name in (f"{runtime}.so", "libstdc++.so.6")]
    return {"LD_PRELOAD": " ".join(libraries), "ASAN_OPTIONS": "detect_leaks=0"}


def watched():
    """The plugin in which AddressSanitizer sees where each piece of memory ends, and new memory is
    never what it was before; and the environment that it wants in a program without."""
    return (PLUGIN, {}) if sanitizer(BUILD / "gpu-check") else (BUILD / "watched-device.so", preload("libasan"))


def check(runs, seed, items, plugin=PLUGIN, **env):
    return subprocess.run([BUILD / "gpu-check", plugin, str(runs), str(seed), str(items)], capture_output=True, text=True,
                          timeout=600, env=os.environ | env | {"EMULATED_DEVICE_SEED": str(seed)})


@pytest.mark.parametrize("seed, is_watched", [(1, False), (2, False), (3, True)])
def test_the_device_gives_what_the_cpu_gives(seed, is_watched):
    plugin, env = watched() if is_watched else (PLUGIN, {})
    done = check(30, seed, 40000, plugin, **env)
    assert done.returncode == 0 and " passed, 0 failed" in done.stdout, done.stdout + done.stderr
    assert done.stdout.startswith("on an emulated device")


@pytest.mark.parametrize("plan", ["malloc:4", "malloc:9+", "sgemm:5", "cublasCreate:1", "pinned:2"])
def test_what_fails_there_changes_no_result(plan):
    """Only the place of the computation changes, and that is what this program then reports."""
    done = check(4, 5, 20000, EMULATED_DEVICE=plan)
    wrong = [line for line in done.stdout.splitlines() if line.startswith("FAILED") and "on the device" not in line]
    assert done.returncode in (0, 1) and not wrong, done.stdout + done.stderr


@pytest.mark.parametrize("seed", [1, 2])
def test_tensors_that_change_under_the_device_do_no_harm(seed):
    """In memory that another process shares: requests end, and AddressSanitizer sees no access
    beyond a piece of memory."""
    plugin, env = watched()
    env = os.environ | env | {"EMULATED_DEVICE_SEED": str(seed), "EMULATED_DEVICE_MEDDLES": "1"}
    done = subprocess.run([BUILD / "gpu-changing", plugin, "40", str(seed)], capture_output=True, text=True, timeout=600, env=env)
    assert done.returncode == 0 and done.stdout.strip() == "40 passed, 0 failed", done.stdout + done.stderr


def test_the_plugins_table_is_as_the_bench_has_it():
    """Its structures are written out a second time, for ctypes, in tests/bench/device_plugin.py."""
    program = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from device_plugin import FP32, INT8, Device, Gradient, Query, Rank, Retrieval, Run, Scores, ap, c
device = Device(sys.argv[2])
scores = np.array([[.9, .8, .7, .6]], np.float32)  # the worked example of docs/semantics.md
targets = np.array([[0, 1, 0, 1]], np.int8)
gradient, losses = np.zeros_like(scores), np.zeros(1, np.float32)
job = Scores(scores=scores.ctypes.data, targets=targets.ctypes.data, score_dtype=FP32, target_dtype=INT8, rows=1, columns=4,
             box=ap(strength=1.0), gradient=Gradient(dense=True, data=gradient.ctypes.data), list_loss=losses.ctypes.data)
for array in (scores, targets, gradient):
    device.pin(array)
device.call("scores", job)
for array in (scores, targets, gradient):
    device.unpin(array)
c.CDLL(sys.argv[2]).emulated_direct_bytes.restype = c.c_size_t
assert c.CDLL(sys.argv[2]).emulated_direct_bytes() == scores.nbytes + targets.nbytes + gradient.nbytes
assert job.loss == .5 and losses[0] == .5 and gradient.tolist() == [[.25, -.25, .25, -.25]], (job.loss, gradient)
assert (job.lists, job.skipped, job.stalled, job.gradient.nonzero, job.jumped, job.relevant) == (1, 0, 0, 4, 2, 2)
upstream, ranks = np.array([[0, .15, 0, .2]], np.float32), np.zeros((1, 4), np.int64)
job = Rank(scores=scores.ctypes.data, score_dtype=FP32, rows=1, columns=4, ranks=ranks.ctypes.data, upstream=upstream.ctypes.data,
           scale=4, gradient=Gradient(dense=True, data=gradient.ctypes.data))
setattr(job, "lambda", 1.0)
device.call("rank", job)
assert ranks.tolist() == [[1, 2, 3, 4]] and gradient.tolist() == [[.25, -.25, .25, -.25]]
own, bank = np.array([[1, 0]], np.float32), np.array([[1, 0], [0, 1], [.5, .5]], np.float32)
position, own_position, row = np.array([2], np.uint32), np.zeros(1, np.uint32), np.zeros(1, np.uint32)
run, total = (Run * 1)(Run(bank.ctypes.data, FP32, 3, 7, 0)), np.zeros((1, 2))
query = (Query * 1)(Query(position.ctypes.data, own_position.ctypes.data, 1, 1, 1.0))
job = Retrieval(own=own.ctypes.data, n_queries=1, own_items=1, total=4, dim=2, row_block=c.addressof(run), row_blocks=1,
query=c.addressof(query),
                row=row.ctypes.data, queries=1, box=ap(strength=1.0), gradient=True, sum=total.ctypes.data)
device.call("retrieval", job)
assert query[0].done and query[0].loss == 2 / 3, query[0].loss  # last of three
"""
    folder = os.path.join(os.path.dirname(__file__), "..", "bench")
    runtime = sanitizer(PLUGIN)
    done = subprocess.run([sys.executable, "-c", program, folder, PLUGIN], capture_output=True, text=True, timeout=60,
                          env=os.environ | (preload(runtime) if runtime else {}))
    assert done.returncode == 0, done.stderr
