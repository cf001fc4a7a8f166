#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Takes the pictures of the status page: a real daemon with banks, trainers that use it, and
Debian's Chromium without a window.

    make && docs/images/make_status.py
"""
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "clients/python"), str(ROOT / "tests"), str(ROOT / "tests/deploy")]
import numpy as np

import rankd
from browser import Browser
from conftest import Daemon

SECONDS = 125
PICTURES = {"status.png": (1100, False), "status-dark.png": (1100, True), "status-phone.png": (390, False),
            "status-phone-dark.png": (390, True)}


def every(seconds, ended, step):
    """Calls step(random) at that pace until the end; refusals of the daemon are part of the
    picture."""
    random = np.random.default_rng(int(seconds * 1e6))
    while not ended.wait(seconds * random.uniform(0.7, 1.3)):
        try:
            step(random)
        except rankd.RankdError:
            pass


def trainers(daemon, socket):
    """(seconds between steps, step) of each of the trainers."""
    ring, http = rankd.connect(f"unix:{socket}"), rankd.connect(daemon.url)
    http.banks.create("products-64", dim=64, capacity=16384, durability="interval")
    http.banks.create("detector-scores", kind="scores", lists=4, capacity=4096)

    def detection(random):
        scores, targets = random.random((32, 2000), np.float32), random.random((32, 2000)) < 0.01
        targets[0] = False  # a list without a relevant item is skipped
        ring.loss("ap", scores + targets, targets, margin=0.05)

    def retrieval(random):
        labels = random.integers(0, 40, 64)
        embeddings = random.standard_normal((64, 64), np.float32) + 0.3 * labels[:, None]
        ring.loss("recall", embeddings=embeddings, labels=labels, bank="products-64")

    def with_scores(random):
        scores, targets = random.random((4, 256), np.float32), random.random((4, 256)) < 0.05
        http.loss("ap", scores, targets, bank="detector-scores")

    def mistaken(random):
        http.loss("ap", random.random((1, 8), np.float32), np.eye(1, 8), margin=-1)

    return [(0.010, detection), (0.025, retrieval), (0.05, with_scores), (1.7, mistaken)]


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        daemon = Daemon(folder, "--data", folder / "data", "--socket", folder / "socket", "--log-level", "warn")
        ended = threading.Event()
        threads = [threading.Thread(target=every, args=(pace, ended, step)) for pace, step in trainers(daemon, folder / "socket")]
        browser = Browser()
        try:
            for thread in threads:
                thread.start()
            pages = {name: browser.open(daemon.url, width, dark=dark, scale=2 if width < 500 else 1.5, mobile=width < 500)
                     for name, (width, dark) in PICTURES.items()}
            time.sleep(SECONDS)
            for name, page in pages.items():
                (HERE / name).write_bytes(page.picture())
        finally:
            browser.close()
            ended.set()
            for thread in threads:
                thread.join()
            daemon.stop()


if __name__ == "__main__":
    main()
