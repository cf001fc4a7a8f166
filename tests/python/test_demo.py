# SPDX-License-Identifier: Apache-2.0
"""A short demo: it trains, shows table and plot, and fails in the documented cases."""
import os
import re
import subprocess
from pathlib import Path

import pytest
from support import BUILD, ROOT, library

DEMO = Path(__file__).resolve().parents[2] / "clients/python/demo/demo.py"


def run_demo(tmp_path, *options):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"RANKD_LIBRARY": str(library())}
    return subprocess.run(["/usr/bin/python3", DEMO, "--daemon", BUILD / "rankd", "--plot", tmp_path / "plot.png", *options],
                          capture_output=True, text=True, timeout=300, env=environment)


def mean_map(output, row):
    line = next(line for line in output.splitlines() if line.startswith(row + "  "))
    return float(line.split(")")[-2].split("(")[0].split()[-1])


def test_the_demo_trains_two_trainers_and_the_bank_helps(tmp_path):
    done = run_demo(tmp_path, "--seeds", "1", "--steps", "120", "--least-map", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert mean_map(done.stdout, "raw pixels, ten digits") == pytest.approx(0.67, abs=0.02)
    assert mean_map(done.stdout, "raw pixels") == pytest.approx(0.88, abs=0.02)  # of the three digits that seed 0 holds out
    for row in ("contrastive", "ap", "recall"):
        assert mean_map(done.stdout, row) > 0.5
    for rows in (("contrastive", "ap", "recall"), ("contrastive, small batch", "ap, small batch", "ap, small batch + bank")):
        best, value = next((name, float(number)) for name, number in re.findall(r"best: (.*), mAP ([0-9.]+)", done.stdout)
                           if name in rows)
        assert value == mean_map(done.stdout, best) == max(mean_map(done.stdout, row) for row in rows)
    assert mean_map(done.stdout, "ap, small batch + bank") > mean_map(done.stdout, "ap, small batch") + 0.02
    ring, http = re.search(r"step time of the loss .*: ring ([0-9.]+) ms, HTTP ([0-9.]+) ms", done.stdout).groups()
    assert float(ring) > 0 and float(http) > 0
    assert "trainers over the ring" in done.stdout
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG") and str(tmp_path / "plot.png") in done.stdout


def test_the_demo_fails_loudly_if_the_losses_fall_short(tmp_path):
    done = run_demo(tmp_path, "--seeds", "1", "--steps", "5", "--no-bank", "--least-map", "0.99")
    assert done.returncode == 1
    assert "FAILED: mean mAP of ap" in done.stderr and "at least 0.99" in done.stderr


def test_make_builds_all_that_the_demo_needs_from_nothing(tmp_path):
    done = subprocess.run(["make", "-n", f"BUILD={tmp_path}/build", "demo-run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "librankd.so" in done.stdout and "demo.py" in done.stdout
