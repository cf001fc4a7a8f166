# SPDX-License-Identifier: Apache-2.0
"""A bank's files: those of an earlier release, those of checkpoints, damaged ones, and their
lock."""
import os
import shutil
from pathlib import Path

import pytest
from support_bank import BankDaemon, Batches, Refused, fingerprint

SOAK = bool(os.environ.get("RK_SOAK"))
SCORES = {"kind": "scores", "lists": 1}
FORMAT_1 = Path(__file__).parents[1] / "data/format1"


def segments(daemon, bank, folder="live-*"):
    return sorted((Path(daemon.data) / "banks" / bank).glob(f"{folder}/*.seg"))


def as_written(daemon, bank, first, count=2):
    """Appends the batches that the earlier release wrote into its banks, from batch `first` on."""
    daemon.scores(bank, [[first + i / 8 for i in range(count)]], [[1, 0, 1][:count]])


@pytest.fixture()
def old(tmp_path):
    """A data directory of format 1, as git keeps it: without empty folders and second names."""
    data = tmp_path / "old"
    shutil.copytree(FORMAT_1, data)
    (data / "banks/vectors/checkpoints").mkdir(exist_ok=True)
    with BankDaemon(tmp_path, data=data) as daemon:
        yield daemon


def test_a_data_directory_of_format_1_opens_and_goes_on(old):
    assert (Path(old.data) / "format").read_text() == "rankd data 2\n"
    old.bank("twin", **SCORES, capacity=5)
    for n in range(5):
        as_written(old, "twin", n)
    assert fingerprint(old, "plain") == fingerprint(old, "twin")
    assert old.embeddings("vectors", [[1, 0]], [1], enqueue=False)["bank_items"] == 2
    # The bank whose checkpoint was taken while it was empty: its writer had dropped the first
    # segment.
    old.bank("young", **SCORES, capacity=5)
    for n in (1, 2):
        as_written(old, "young", n)
    assert fingerprint(old, "empty") == fingerprint(old, "young")
    for bank in "plain", "empty":
        as_written(old, bank, 7)
        old.call("PUT", f"/v2/banks/{bank}/checkpoints/new")
    after = {bank: fingerprint(old, bank) for bank in ("plain", "empty")}
    old.kill()
    old.start()
    for bank in "plain", "empty":
        assert fingerprint(old, bank) == after[bank]
        old.call("POST", f"/v2/banks/{bank}/checkpoints/t/restore")  # of format 1
        old.call("POST", f"/v2/banks/{bank}/checkpoints/new/restore")
        assert fingerprint(old, bank) == after[bank]


def test_a_bank_of_format_1_whose_beginning_is_not_known_is_refused_with_the_way_out(old):
    """Cleared, then a checkpoint while it was empty: format 1 does not tell this from a segment
    that is missing."""
    state = old.bank("cleared")
    assert state["read_only"] and "restore a checkpoint" in state["reason"]
    old.call("POST", "/v2/banks/cleared/checkpoints/t/restore")
    assert old.bank("cleared")["items"] == 0 and not old.bank("cleared")["read_only"]
    as_written(old, "cleared", 1)


def test_a_format_of_the_future_is_refused_in_one_sentence(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "format").write_text("rankd data 3\n")
    with pytest.raises(RuntimeError, match="rankd data 3.*this rankd reads"):
        BankDaemon(tmp_path, data=data)


def test_a_second_daemon_is_kept_out_though_the_lock_file_is_gone(tmp_path):
    with BankDaemon(tmp_path) as daemon:
        os.unlink(Path(daemon.data) / "lock")
        other = tmp_path / "other"
        other.mkdir()
        with pytest.raises(RuntimeError, match="in use by another rankd"):
            BankDaemon(other, data=daemon.data)


def test_many_checkpoints_leave_the_journal_as_it_was(tmp_path):
    batches, many = Batches(1), 1000 if SOAK else 150
    with BankDaemon(tmp_path) as daemon:
        connection = daemon.connect()
        daemon.bank("b", **SCORES, capacity=100000, durability="none")
        for n in range(many):
            batches.send(daemon, "b", n, connection)
            daemon.call("PUT", f"/v2/banks/b/checkpoints/{n}", connection=connection)
            if n:
                daemon.call("DELETE", f"/v2/banks/b/checkpoints/{n - 1}", connection=connection)
        assert len(segments(daemon, "b")) == 1 and len(segments(daemon, "b", "checkpoints/*")) == 1
        used = sum(path.stat().st_size for path in Path(daemon.data).glob("**/*") if path.is_file())
        before = fingerprint(daemon, "b")
        daemon.kill()
        daemon.start()
        assert fingerprint(daemon, "b") == before
        daemon.call("POST", f"/v2/banks/b/checkpoints/{many - 1}/restore")
        assert fingerprint(daemon, "b") == before
        assert used < 4 << 20  # batches and ids, twice


def test_going_back_and_forth_does_not_collect_segments(tmp_path):
    batches = Batches(2)
    with BankDaemon(tmp_path) as daemon:
        connection = daemon.connect()
        daemon.bank("b", **SCORES, capacity=100000, durability="none")
        for n in range(100):
            batches.send(daemon, "b", n, connection)
            daemon.call("PUT", f"/v2/banks/b/checkpoints/{n}", connection=connection)
            daemon.call("POST", f"/v2/banks/b/checkpoints/{n}/restore", connection=connection)
            if n:
                daemon.call("DELETE", f"/v2/banks/b/checkpoints/{n - 1}", connection=connection)
        assert len(segments(daemon, "b")) < 80
        before = fingerprint(daemon, "b")
        daemon.kill()
        daemon.start()
        assert fingerprint(daemon, "b") == before and before[1] == 100


def test_what_a_kill_left_of_checkpoints_counts_and_is_gone_after_the_next_start(tmp_path):
    with BankDaemon(tmp_path, "--bank-bytes", "16M") as daemon:
        daemon.bank("b", **SCORES, capacity=10)
        folder = Path(daemon.data) / "banks/b/checkpoints"
        for name in "~new-t", "~gone-u":
            (folder / name).mkdir()
            (folder / name / "0000000000000001.seg").write_bytes(bytes(8 << 20))
        with pytest.raises(Refused) as refused:
            daemon.bank("c", **SCORES, capacity=10)
        assert refused.value.status == 413 and "--bank-bytes" in refused.value.sentence
        daemon.kill()
        daemon.start()
        assert list(folder.iterdir()) == []
        daemon.bank("c", **SCORES, capacity=10)
        for tag in "t", "u":  # their names are free again
            daemon.call("PUT", f"/v2/banks/b/checkpoints/{tag}")


DAMAGES = {"cut": lambda text: text[:40], "empty": lambda text: "", "flipped": lambda text: text.replace('"kind"', '"k\x00nd"'),
           "long": lambda text: text + " " * 5000, "without version": lambda text: text.replace("version", "vrsion"),
           "not an object": lambda text: "[1, 2"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_of_a_checkpoint_is_told_and_keeps_nothing_from_being_restored(tmp_path, damage):
    batches = Batches(3)
    with BankDaemon(tmp_path) as daemon:
        daemon.bank("b", **SCORES, capacity=10)
        for n, tag in enumerate(("bad", "good")):
            batches.send(daemon, "b", n)
            daemon.call("PUT", f"/v2/banks/b/checkpoints/{tag}")
        manifest = Path(daemon.data) / "banks/b/checkpoints/bad/manifest"
        manifest.write_text(DAMAGES[damage](manifest.read_text()))
        bad, good = daemon.call("GET", "/v2/banks/b/checkpoints")
        assert bad["tag"] == "bad" and "manifest" in bad["damaged"]
        assert good["tag"] == "good" and good["version"] == 2
        for tag, version in (("good", 2), ("bad", 1), ("good", 2)):
            daemon.call("POST", f"/v2/banks/b/checkpoints/{tag}/restore")
            assert daemon.bank("b")["version"] == version
        daemon.call("DELETE", "/v2/banks/b/checkpoints/bad")
        assert [c["tag"] for c in daemon.call("GET", "/v2/banks/b/checkpoints")] == ["good"]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_a_damaged_manifest_of_a_bank_keeps_no_checkpoint_from_being_restored(tmp_path, damage):
    batches = Batches(4)
    with BankDaemon(tmp_path) as daemon:
        daemon.bank("b", **SCORES, capacity=12, durability="always")
        for n in range(5):
            batches.send(daemon, "b", n)
        daemon.call("PUT", "/v2/banks/b/checkpoints/t")
        daemon.call("PUT", "/v2/banks/b/checkpoints/u")
        before = fingerprint(daemon, "b")
        daemon.kill()
        manifest = Path(daemon.data) / "banks/b/bank"
        manifest.write_text(DAMAGES[damage](manifest.read_text()))
        daemon.start()
        state = daemon.bank("b")
        assert state["read_only"] and str(manifest) in state["reason"]
        with pytest.raises(Refused) as refused:
            daemon.call("POST", "/v2/banks/b/clear")
        assert refused.value.status == 409 and "configuration" in refused.value.sentence
        daemon.call("POST", "/v2/banks/b/checkpoints/t/restore")
        assert fingerprint(daemon, "b") == before
        daemon.kill()
        daemon.start()
        assert fingerprint(daemon, "b") == before and daemon.bank("b")["durability"] == "always"


def test_a_checkpoint_that_lost_its_last_records_is_not_restored(tmp_path):
    """Its files are sealed: a missing end is damage, never an interrupted write."""
    batches = Batches(5)
    with BankDaemon(tmp_path) as daemon:
        daemon.bank("b", **SCORES, capacity=100)
        for n in range(3):
            batches.send(daemon, "b", n)
        daemon.call("PUT", "/v2/banks/b/checkpoints/t")
        before = fingerprint(daemon, "b")
        segment = segments(daemon, "b", "checkpoints/t")[-1]
        whole = segment.read_bytes()
        for end in (len(whole) - 1, len(whole) - 64 - 64 - 4 * 5):  # within the last record, and all of it
            segment.write_bytes(whole[:end])
            with pytest.raises(Refused) as refused:
                daemon.call("POST", "/v2/banks/b/checkpoints/t/restore")
            assert refused.value.status == 500 and "damaged" in refused.value.sentence
            assert fingerprint(daemon, "b") == before and segment.stat().st_size == end
        segment.write_bytes(whole)
        daemon.call("POST", "/v2/banks/b/checkpoints/t/restore")
        assert fingerprint(daemon, "b") == before


def test_bytes_that_recovery_drops_are_told_in_the_log_and_a_metric(tmp_path):
    batches = Batches(6)
    with BankDaemon(tmp_path) as daemon:
        for bank in "torn", "whole":
            daemon.bank(bank, **SCORES, capacity=100, durability="always")
            for n in range(3):
                batches.send(daemon, bank, n)
        daemon.kill()
        segment = segments(daemon, "torn")[-1]
        size = segment.stat().st_size
        os.truncate(segment, size - 7)
        daemon.start()
        record = 64 + 64 + 4 * 5
        line = daemon.wait_for_log(r'[^\n]*were cut off[^\n]*')[0]
        for part in ('bank \\"torn\\"', f"{record - 7} bytes", str(segment), f"offset {size - record}", "version 2"):
            assert part in line, line
        assert daemon.log_text().count("were cut off") == 1
        assert daemon.metric("rankd_bank_recovery_lost_bytes", "torn") == record - 7
        assert daemon.metric("rankd_bank_recovery_lost_bytes", "whole") == 0
        assert segment.stat().st_size == size - record and daemon.bank("torn")["version"] == 2
