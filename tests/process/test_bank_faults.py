# SPDX-License-Identifier: Apache-2.0
"""The contents of a bank after the daemon was killed, its files were damaged, or its disk failed or
filled up.

The oracle shares nothing with the store: a second bank without durability gets the batches that
must be there, and a fixed list ranked with either must have the same loss and gradient, bit for
bit. Long forms: `make soak` (RK_SOAK)."""
import os
import random
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from support_bank import BankDaemon, Batches, Refused, fingerprint, tensor

SOAK = bool(os.environ.get("RK_SOAK"))
SCORES = {"kind": "scores", "lists": 1}


def load_until_killed(daemon, batches, todo, acknowledged, seconds):
    """Four trainers divide `todo`; after `seconds` kill -9. The answered batches are put into
    `acknowledged`."""
    lock = threading.Lock()

    def trainer():
        connection = daemon.connect()
        while True:
            with lock:
                if not todo:
                    return
                n = todo.pop()
            try:
                version = batches.send(daemon, "bank", n, connection)["bank_version_appended"]
            except Exception:  # noqa: BLE001 - the daemon is gone, whatever the exception is
                return
            with lock:
                assert n not in acknowledged
                acknowledged[n] = version

    threads = [threading.Thread(target=trainer) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    daemon.kill()
    for thread in threads:
        thread.join()


def test_kill_9_under_load_loses_no_acknowledged_batch_and_doubles_none(tmp_path):
    """In `always`: after every kill each acknowledged batch is there under the version of its
    answer, and the bank equals the batches in that order."""
    draw, batches, acknowledged = random.Random(1), Batches(1), {}
    cycles, per_cycle = (300, 10) if SOAK else (10, 60)
    with BankDaemon(tmp_path) as daemon:
        daemon.bank("bank", **SCORES, capacity=100000, durability="always")
        for cycle in range(cycles):
            todo = list(range(cycle * per_cycle, (cycle + 1) * per_cycle))
            load_until_killed(daemon, batches, todo, acknowledged, draw.uniform(0.002, 0.15))
            daemon.start()
            # Every unanswered batch is sent again: it was there already, or it is appended now.
            connection = daemon.connect()
            for n in range(cycle * per_cycle, (cycle + 1) * per_cycle):
                version = batches.send(daemon, "bank", n, connection)["bank_version_appended"]
                assert acknowledged.get(n, version) == version
                acknowledged[n] = version
        assert sorted(acknowledged.values()) == list(range(1, cycles * per_cycle + 1))
        daemon.bank("twin", **SCORES, capacity=100000, durability="none")
        for n in sorted(acknowledged, key=acknowledged.get):
            daemon.scores("twin", *batches[n])
        assert fingerprint(daemon, "bank") == fingerprint(daemon, "twin")


def journal_of(folder):
    """The segments, the newest last."""
    return sorted(Path(folder).glob("**/*.seg"))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A stopped bank of two segments, and its fingerprint at every version."""
    folder, batches, prints = tmp_path_factory.mktemp("original"), Batches(2), {}
    with BankDaemon(folder) as daemon:
        daemon.bank("bank", **SCORES, capacity=30, durability="always")
        prints[0] = fingerprint(daemon, "bank")
        for n in range(8):
            if n == 4:
                daemon.call("PUT", "/v2/banks/bank/checkpoints/cut")
                daemon.call("POST", "/v2/banks/bank/checkpoints/cut/restore")  # which begins a segment
                daemon.call("DELETE", "/v2/banks/bank/checkpoints/cut")
            batches.send(daemon, "bank", n)
            prints[n + 1] = fingerprint(daemon, "bank")
    return Path(daemon.data) / "banks" / "bank", prints


def try_damages(tmp_path, original, damages):
    """A copy of the bank for each damage, all read back by one daemon. Each must be a true prefix,
    or refuse with file and offset. Returns how many were a prefix, and the versions reached."""
    source, prints = original
    data = tmp_path / "data"
    (data / "banks").mkdir(parents=True)
    for i, damage in enumerate(damages):
        shutil.copytree(source, data / "banks" / f"b{i}")
        damage(data / "banks" / f"b{i}")
    versions = []
    with BankDaemon(tmp_path, data=data) as daemon:
        connection = daemon.connect()
        states = {state["name"]: state for state in daemon.call("GET", "/v2/banks")}
        assert len(states) == len(damages)
        for i in range(len(damages)):
            state = states[f"b{i}"]
            if state["read_only"]:
                assert str(data / "banks" / f"b{i}") in state["reason"] or "manifest" in state["reason"], state
                with pytest.raises(Refused) as refused:
                    fingerprint(daemon, f"b{i}", connection)
                assert refused.value.status == 500
            else:
                assert fingerprint(daemon, f"b{i}", connection) == prints[state["version"]], state
                versions.append(state["version"])
                daemon.scores(f"b{i}", [[0.5]], [[1]], connection)  # and it goes on
    return versions


def test_newest_segment_cut_at_every_byte_gives_a_prefix(tmp_path, original):
    size = journal_of(original[0])[-1].stat().st_size

    def cut(to):
        return lambda folder: os.truncate(journal_of(folder)[-1], to)

    step = 1 if SOAK else 3
    versions = try_damages(tmp_path, original, [cut(to) for to in range(0, size, step)])
    assert len(versions) == len(range(0, size, step))  # a bank with a cut tail is never refused
    assert versions == sorted(versions) and versions[0] == 4 and versions[-1] == 7


def test_flipped_bits_give_a_prefix_or_a_refusal_never_wrong_data(tmp_path, original):
    draw = random.Random(3)

    def flip(segment, bit):
        def damage(folder):
            path = journal_of(folder)[segment]
            data = bytearray(path.read_bytes())
            data[bit // 8] ^= 1 << bit % 8
            path.write_bytes(data)
        return damage

    segments = journal_of(original[0])
    damages = []
    for _ in range(4000 if SOAK else 400):
        segment = draw.randrange(len(segments))
        damages.append(flip(segment, draw.randrange(8 * segments[segment].stat().st_size)))
    versions = try_damages(tmp_path, original, damages)
    assert len(versions) < len(damages) / 2  # only damage to the newest record looks like an interrupted write
    assert set(versions) <= {4, 7, 8}


def test_a_missing_segment_is_refused_and_the_bank_can_be_cleared(tmp_path, original):
    data = tmp_path / "data"
    shutil.copytree(original[0], data / "banks" / "bank")
    os.unlink(journal_of(data)[0])
    with BankDaemon(tmp_path, data=data) as daemon:
        assert daemon.bank("bank")["read_only"]
        daemon.call("POST", "/v2/banks/bank/clear")
        assert not daemon.bank("bank")["read_only"]
        daemon.scores("bank", [[0.5]], [[1]])


def fail_sync(tmp_path, nth):
    """The nth fdatasync fails, later ones succeed, as a disk does that has lost the data; returns
    acknowledged batches, with the bank's files in tmp_path."""
    batches, acknowledged = Batches(4), {}
    inject = ("strace", "-f", "-qq", "-o", f"{tmp_path}/strace", "-e", "trace=fdatasync",
              "-e", f"inject=fdatasync:error=EIO:when={nth}")
    with BankDaemon(tmp_path, "--io", "epoll", "--workers", "1", wrapper=inject) as daemon:
        try:
            daemon.bank("bank", **SCORES, capacity=1000, durability="always")
        except Refused as refused:
            assert refused.status == 500
            return None
        for n in range(4 * nth + 8):  # strace counts for each thread, and the bank's four writers take turns
            try:
                acknowledged[n] = batches.send(daemon, "bank", n)["bank_version_appended"]
            except Refused as refused:
                assert refused.status == 500 and "read-only" in refused.sentence
        state = daemon.bank("bank")
        assert state["read_only"] and "fdatasync" in state["reason"]
        assert state["version"] == len(acknowledged)  # the failed append is not visible, and no later one was made
        assert daemon.metric("rankd_bank_read_only", "bank") == 1
        assert fingerprint(daemon, "bank")[1] == len(acknowledged)  # reads go on
    return acknowledged


@pytest.mark.parametrize("nth", range(1, 51) if SOAK else [1, 2, 3, 7])
def test_an_error_of_the_nth_sync_makes_the_bank_read_only_and_loses_nothing(tmp_path, nth):
    acknowledged = fail_sync(tmp_path, nth)
    if acknowledged is None:
        return
    batches = Batches(4)
    with BankDaemon(tmp_path, "--io", "epoll") as daemon:
        assert not daemon.bank("bank")["read_only"]
        for n, version in acknowledged.items():
            assert batches.send(daemon, "bank", n)["bank_version_appended"] == version


class SlowDisk:
    """A context in which no fdatasync of the daemon returns."""

    def __init__(self, daemon, folder):
        self.strace = subprocess.Popen(
            ["strace", "-f", "-o", f"{folder}/strace-slow", "-p", str(daemon.pid), "-e", "trace=fdatasync",
             "-e", "inject=fdatasync:delay_enter=1000000000"], stderr=subprocess.PIPE, text=True)
        line = self.strace.stderr.readline()
        assert "attached" in line, line

    def __enter__(self):
        return self

    def __exit__(self, *failed):
        self.strace.terminate()  # detaches from the daemon, which continues
        self.strace.wait()
        self.strace.stderr.close()


def gauge(daemon, name):
    return float(re.search(rf"^{name} (\S+)$", daemon.call("GET", "/metrics"), re.M).group(1))


class Waiting:
    """Batches in flight, each sent by its own thread; the outcomes are in `replies`."""

    def __init__(self, daemon, bank, batches, numbers):
        self.replies, self.lock = [], threading.Lock()

        def send(n):
            try:
                reply = batches.send(daemon, bank, n)
            except Refused as refused:
                reply = refused
            with self.lock:
                self.replies.append((n, reply))

        self.threads = [threading.Thread(target=send, args=(n,)) for n in numbers]
        for thread in self.threads:
            thread.start()
        while gauge(daemon, "rankd_queue_parked") < len(self.threads):
            time.sleep(0.01)

    def join(self):
        for thread in self.threads:
            thread.join()
        return self.replies


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_hangs_keeps_nobody_but_its_own_appends_waiting(tmp_path, workers):
    """More appends than workers wait for the disk, among them retries of others, and operations on
    banks; everything else is answered."""
    batches = Batches(9)
    with BankDaemon(tmp_path, "--io", "epoll", "--workers", workers) as daemon:
        daemon.bank("slow", **SCORES, capacity=1000, durability="always")
        daemon.bank("loose", **SCORES, capacity=1000, durability="none")
        with SlowDisk(daemon, tmp_path):
            waiting = Waiting(daemon, "slow", batches, [*range(8), 0, 1, 2])
            operations = [threading.Thread(target=daemon.call, args=("PUT", f"/v2/banks/slow/checkpoints/{tag}"))
                          for tag in ("a", "b", "c")]
            for operation in operations:
                operation.start()
            while gauge(daemon, "rankd_requests_in_flight") < 14:
                time.sleep(0.01)
            assert daemon.infer([tensor("scores", "FP32", [1, 2], [1, 2]), tensor("targets", "INT8", [1, 2], [1, 0])])
            assert fingerprint(daemon, "slow")[:2] == (0, 0)  # nothing is visible before it is on disk
            assert batches.send(daemon, "loose", 0)["bank_version_appended"] == 1
            assert daemon.bank("slow")["version"] == 0 and daemon.call("GET", "/v2/banks")
            assert waiting.replies == []
        replies = waiting.join()
        for operation in operations:
            operation.join()
        assert [c["tag"] for c in daemon.call("GET", "/v2/banks/slow/checkpoints")] == ["a", "b", "c"]
        versions = {}
        for n, reply in replies:
            assert versions.setdefault(n, reply["bank_version_appended"]) == reply["bank_version_appended"]
        assert len(replies) == 11 and sorted(versions.values()) == list(range(1, 9))
        assert daemon.bank("slow")["version"] == 8 and gauge(daemon, "rankd_queue_parked") == 0


def test_a_restore_on_a_disk_that_hangs_leaves_readers_what_was_there(tmp_path):
    batches = Batches(12)
    with BankDaemon(tmp_path, "--io", "epoll", "--workers", "1") as daemon:
        daemon.bank("slow", **SCORES, capacity=1000, durability="always")
        batches.send(daemon, "slow", 0)
        daemon.call("PUT", "/v2/banks/slow/checkpoints/t")
        old = fingerprint(daemon, "slow")
        batches.send(daemon, "slow", 1)
        before = fingerprint(daemon, "slow")
        with SlowDisk(daemon, tmp_path):
            restoring = threading.Thread(target=daemon.call, args=("POST", "/v2/banks/slow/checkpoints/t/restore"))
            restoring.start()
            while not journal_of(Path(daemon.data) / "banks/slow/live-2"):  # what is to be the new generation's
                assert restoring.is_alive(), daemon.log_text()
                time.sleep(0.01)
            assert fingerprint(daemon, "slow") == before and daemon.bank("slow")["generation"] == 1
            assert daemon.metric("rankd_bank_generation", "slow") == 1
        restoring.join()
        assert fingerprint(daemon, "slow") == old and daemon.bank("slow")["generation"] == 2
        daemon.kill()
        daemon.start()
        assert fingerprint(daemon, "slow") == old and daemon.bank("slow")["generation"] == 2


def test_a_restore_that_fails_leaves_the_bank_as_it_was(tmp_path):
    batches = Batches(13)
    with BankDaemon(tmp_path) as daemon:
        daemon.bank("bank", **SCORES, capacity=1000)
        batches.send(daemon, "bank", 0)
        daemon.call("PUT", "/v2/banks/bank/checkpoints/t")
        batches.send(daemon, "bank", 1)
        before = fingerprint(daemon, "bank")
        segment = journal_of(Path(daemon.data) / "banks/bank/checkpoints/t")[0]
        data = bytearray(segment.read_bytes())
        segment.unlink()  # the live journal uses the same file
        data[100] ^= 1
        segment.write_bytes(data)
        with pytest.raises(Refused) as refused:
            daemon.call("POST", "/v2/banks/bank/checkpoints/t/restore")
        assert refused.value.status == 500 and "damaged" in refused.value.sentence
        assert fingerprint(daemon, "bank") == before and not daemon.bank("bank")["read_only"]
        assert batches.send(daemon, "bank", 2)["bank_version_appended"] == 3
        after = fingerprint(daemon, "bank")
        daemon.kill()
        daemon.start()
        assert fingerprint(daemon, "bank") == after


def test_a_daemon_that_is_asked_to_end_brings_what_waits_for_the_disk_to_its_end(tmp_path):
    batches = Batches(10)
    with BankDaemon(tmp_path, "--io", "epoll", "--workers", "2") as daemon:
        daemon.bank("slow", **SCORES, capacity=1000, durability="always")
        with SlowDisk(daemon, tmp_path):
            waiting = Waiting(daemon, "slow", batches, range(6))
            daemon.process.terminate()
            while "draining" not in daemon.log_text():
                time.sleep(0.01)
        assert sorted(reply["bank_version_appended"] for _, reply in waiting.join()) == list(range(1, 7))
        assert daemon.process.wait(60) == 0
        daemon.start()
        assert daemon.bank("slow")["version"] == 6


def test_an_append_that_waits_when_the_bank_is_deleted_is_answered(tmp_path):
    """The deletion waits for the running sync. Waiting appends were in the bank before it, or
    never."""
    batches = Batches(11)
    with BankDaemon(tmp_path, "--io", "epoll", "--workers", "2") as daemon:
        daemon.bank("slow", **SCORES, capacity=1000, durability="always")
        with SlowDisk(daemon, tmp_path):
            waiting = Waiting(daemon, "slow", batches, range(4))
            deleting = threading.Thread(target=daemon.call, args=("DELETE", "/v2/banks/slow"))
            deleting.start()
            while "slow" in [bank["name"] for bank in daemon.call("GET", "/v2/banks")]:
                time.sleep(0.01)
        deleting.join()
        for _, reply in waiting.join():
            if isinstance(reply, Refused):
                assert reply.status == 500 and "deleted" in reply.sentence
        assert gauge(daemon, "rankd_queue_parked") == 0
        assert daemon.bank("slow", **SCORES, capacity=10, durability="always")["version"] == 0


@pytest.fixture()
def small_disk(tmp_path):
    """A file system of 1.5 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("io", ["uring", "epoll"])
def test_a_full_disk_refuses_appends_and_losses_go_on(tmp_path, small_disk, io):
    batches, acknowledged = Batches(5, items=4000), []
    with BankDaemon(tmp_path, "--io", io, data=small_disk / "data") as daemon:
        daemon.bank("bank", **SCORES, capacity=10**6, durability="always", on_full="refuse")
        for n in range(1000):
            try:
                batches.send(daemon, "bank", n)
                acknowledged.append(n)
            except Refused as refused:
                assert refused.status == 507, refused
                break
        assert 10 < len(acknowledged) < 1000
        before = fingerprint(daemon, "bank")
        assert before[1] == len(acknowledged) and not daemon.bank("bank")["read_only"]
        with pytest.raises(Refused):
            batches.send(daemon, "bank", 5000)
        daemon.kill()
        daemon.start()
        assert fingerprint(daemon, "bank") == before
        subprocess.run(["mount", "-o", "remount,size=6m", small_disk], check=True)
        assert batches.send(daemon, "bank", 5000)["bank_version_appended"] == len(acknowledged) + 1
        after = fingerprint(daemon, "bank")
        daemon.kill()
        daemon.start()
        assert fingerprint(daemon, "bank") == after


def test_a_bank_that_finds_no_room_is_refused_and_leaves_nothing_behind(tmp_path, small_disk):
    with BankDaemon(tmp_path, data=small_disk / "data") as daemon:
        with open(small_disk / "ballast", "wb", buffering=0) as ballast, pytest.raises(OSError):
            while True:
                ballast.write(b"x" * 4096)
        with pytest.raises(Refused) as refused:
            daemon.bank("bank", **SCORES, capacity=10)
        assert refused.value.status in (500, 507)
        daemon.kill()
        daemon.start()
        assert daemon.call("GET", "/v2/banks") == []
        os.unlink(small_disk / "ballast")
        assert not daemon.bank("bank", **SCORES, capacity=10)["read_only"]


def test_a_creation_that_was_cut_short_leaves_no_bank(tmp_path):
    """kill -9 in the middle of a PUT leaves a folder under a name that no bank can have."""
    with BankDaemon(tmp_path) as daemon:
        daemon.bank("bank", **SCORES, capacity=10)
        daemon.kill()
        banks = Path(daemon.data) / "banks"
        os.rename(banks / "bank", banks / "~new-bank")
        daemon.start()
        assert daemon.call("GET", "/v2/banks") == [] and not list(banks.iterdir())
        daemon.bank("bank", **SCORES, capacity=10)


def test_a_full_disk_with_on_full_memory_goes_on_says_so_and_comes_back(tmp_path, small_disk):
    batches = Batches(6, items=4000)
    with BankDaemon(tmp_path, data=small_disk / "data") as daemon:
        daemon.bank("bank", **SCORES, capacity=10**6, durability="always", on_full="memory")
        for n in range(300):
            batches.send(daemon, "bank", n)
            if daemon.metric("rankd_bank_undurable", "bank"):
                break
        assert n < 299 and "full" in daemon.bank("bank")["reason"]
        for extra in range(3):
            batches.send(daemon, "bank", 1000 + extra)
        subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
        for extra in range(40):
            batches.send(daemon, "bank", 2000 + extra)
            if not daemon.metric("rankd_bank_undurable", "bank"):
                break
            time.sleep(0.1)
        assert daemon.bank("bank")["reason"] == ""
        before = fingerprint(daemon, "bank")
        daemon.kill()
        daemon.start()
        assert fingerprint(daemon, "bank") == before
