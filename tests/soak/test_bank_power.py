# SPDX-License-Identifier: Apache-2.0
"""Power loss: an ext4 file system in a file is shut down at once (EXT4_IOC_SHUTDOWN without
flushing the log), mounted again, and read back. Needs root and loop devices, so it is a test of
`make soak` alone, and fails where there are none."""
import fcntl
import os
import random
import struct
import subprocess
import threading
import time

import pytest
from support_bank import BankDaemon, Batches, fingerprint

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
SCORES = {"kind": "scores", "lists": 1}
SEGMENT = 250  # batches of 1,000 items that fill one segment, and more


@pytest.fixture()
def disk(tmp_path):
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with open(image, "wb") as file:
        file.truncate(128 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    yield image, folder
    subprocess.run(["umount", folder], check=False)


def cut_power(image, folder, daemon):
    """Stops the file system, then the daemon, and mounts the remaining content of the disk."""
    fd = os.open(folder, os.O_RDONLY)
    fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    os.close(fd)
    daemon.kill()
    until = time.monotonic() + 60
    while subprocess.run(["umount", folder], check=False, stderr=subprocess.DEVNULL).returncode:
        assert time.monotonic() < until  # the kernel closes the files of an io_uring after its process is gone
        time.sleep(0.05)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)


class Trainer(threading.Thread):
    """Sends batches to a bank until the power is gone; `acknowledged`: versions by number."""

    def __init__(self, daemon, bank, batches, first):
        super().__init__()
        self.daemon_of, self.bank, self.batches, self.next, self.acknowledged = daemon, bank, batches, first, {}
        self.start()

    def run(self):
        connection = self.daemon_of.connect()
        while True:
            n, self.next = self.next, self.next + 1
            try:
                reply = self.batches.send(self.daemon_of, self.bank, n, connection)
            except Exception:  # noqa: BLE001 - the power is gone
                return
            self.acknowledged[n] = reply["bank_version_appended"]


@pytest.mark.parametrize("io", ["uring", "epoll"])
@pytest.mark.parametrize("durability", ["interval", "none"])
def test_power_loss_leaves_a_small_bank_a_prefix_beside_one_that_syncs(tmp_path, disk, io, durability):
    """The window is much smaller than the appends between two syncs, so that all items that are on
    disk leave memory before any of their successors is on disk; and the other bank's syncs make the
    removal of files durable."""
    image, folder = disk
    draw, batches, steady = random.Random(10), Batches(10, items=1000), Batches(11, items=10)
    history = {0: None}  # the number of the batch that made a version
    sent = kept = 0
    with BankDaemon(tmp_path, "--io", io, data=folder / "data") as daemon:
        daemon.bank("small", **SCORES, capacity=2000, durability=durability)
        daemon.bank("steady", **SCORES, capacity=10**6, durability="always")
        time.sleep(1.5)
        for _ in range(20):
            trainers = [Trainer(daemon, "small", batches, sent), Trainer(daemon, "steady", steady, sent)]
            time.sleep(draw.uniform(0.3, 3))
            while len(trainers[0].acknowledged) < SEGMENT and trainers[0].is_alive():
                time.sleep(0.01)  # without a segment that ended, nothing is on disk by durability "none"
            promised = max(trainers[1].acknowledged.values(), default=0)
            cut_power(image, folder, daemon)
            for trainer in trainers:
                trainer.join()
            sent = max(trainer.next for trainer in trainers)
            daemon.start()
            state = daemon.bank("small")
            assert not state["read_only"], state
            history.update({version: n for n, version in trainers[0].acknowledged.items()})
            assert state["version"] >= kept and state["version"] <= max(history) + 1
            if state["version"] > max(history):  # it was in flight, and is there
                history[state["version"]] = trainers[0].next - 1
            history = {version: n for version, n in history.items() if version <= state["version"]}
            kept = state["version"]  # the recovered batches are on disk
            assert state["items"] == min(2000, 1000 * kept)
            daemon.bank("twin", **SCORES, capacity=2000, durability="none")
            for version in range(max(1, kept - 1), kept + 1):
                daemon.scores("twin", *batches[history[version]])
            assert (fingerprint(daemon, "small")[0], *fingerprint(daemon, "small")[2:]) == \
                (fingerprint(daemon, "twin")[0], *fingerprint(daemon, "twin")[2:])
            daemon.call("DELETE", "/v2/banks/twin")
            assert daemon.bank("steady")["version"] >= promised
        assert kept > 100


@pytest.mark.parametrize("io", ["uring", "epoll"])
@pytest.mark.parametrize("durability", ["always", "interval"])
def test_power_loss_keeps_what_was_promised(tmp_path, disk, io, durability):
    image, folder = disk
    draw, batches, acknowledged = random.Random(9), Batches(9, items=500), {}
    sent = 0
    with BankDaemon(tmp_path, "--io", io, data=folder / "data") as daemon:
        daemon.bank("bank", **SCORES, capacity=10**6, durability=durability)
        time.sleep(1.5)
        for _ in range(10):
            stop = threading.Event()

            def trainer():
                nonlocal sent
                connection = daemon.connect()
                while not stop.is_set():
                    n, sent = sent, sent + 1
                    try:
                        acknowledged[n] = batches.send(daemon, "bank", n, connection)["bank_version_appended"]
                    except Exception:  # noqa: BLE001 - the power is gone
                        return

            thread = threading.Thread(target=trainer)
            thread.start()
            time.sleep(draw.uniform(0.05, 2.5))
            before = dict(acknowledged)
            cut_power(image, folder, daemon)
            stop.set()
            thread.join()
            daemon.start()
            state = daemon.bank("bank")
            assert not state["read_only"], state
            if durability == "always":
                for n, version in before.items():
                    if n >= sent - 20 or n % 50 == 0:
                        assert batches.send(daemon, "bank", n)["bank_version_appended"] == version
            else:  # a prefix: begin again from what is there
                for n in [n for n, version in acknowledged.items() if version > state["version"]]:
                    del acknowledged[n]
            order = sorted(acknowledged, key=acknowledged.get)
            if durability == "interval":
                daemon.bank("twin", **SCORES, capacity=10**6, durability="none")
                assert [acknowledged[n] for n in order] == list(range(1, len(order) + 1))
                for n in order:
                    daemon.scores("twin", *batches[n])
                assert fingerprint(daemon, "bank") == fingerprint(daemon, "twin")
                daemon.call("DELETE", "/v2/banks/twin")  # and it must not come back after the next cut
