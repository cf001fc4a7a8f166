# SPDX-License-Identifier: Apache-2.0
"""One bank for several daemons in a store: a batch that is appended through one daemon is there
once, in one order, for all."""
import threading

import numpy as np
import pytest
import rankd
from conftest import Daemon
from support_bank import BankDaemon
from support_store import Batches, Refused, fingerprint, place, share, stores, wait_equal, wait_until  # noqa: F401

SCORES = {"kind": "scores", "lists": 1, "capacity": 64}


def test_all_daemons_hold_what_a_bank_of_ones_own_would(stores, share, tmp_path):  # noqa: F811
    store = stores()
    daemons = [share(store) for _ in range(3)]
    batches = Batches(1)
    alone = BankDaemon(tmp_path)
    with alone:
        alone.bank("b", **SCORES)
        for d in daemons:
            assert d.bank("b", **SCORES)["store_state"] == "current"
        for n in range(40):  # more than the capacity holds
            want = batches.send(alone, "b", n)
            daemon = daemons[n % 3]
            got = batches.send(daemon, "b", n, bank_version=n)
            assert (got["loss"], got["gradient"], got["bank_items"]) == (want["loss"], want["gradient"], want["bank_items"]), n
            assert got["bank_version_appended"] == n + 1 and got["bank_stale_ms"] < 5000 and len(got["bank_chain"]) == 32
        assert wait_equal(daemons, "b")[1] == 40
        assert fingerprint(daemons[0], "b") == fingerprint(alone, "b")
        late = share(store)
        wait_equal([late, *daemons], "b")
        assert late.bank("b")["uid"] == daemons[0].bank("b")["uid"]


def test_every_transport_tells_the_chain(stores, share, tmp_path):  # noqa: F811
    store, batches = stores(), Batches(12)
    one, other = share(store, "--socket", tmp_path / "s"), share(store)
    one.bank("b", **SCORES)
    wait_until(lambda: other.bank("b"))
    with rankd.connect(f"unix:{tmp_path}/s") as ring, rankd.connect(one.url) as http, rankd.connect(other.url) as far:
        for n in range(5):
            _, version, chain = place(one, "b")
            scores, targets = batches[n]
            reply = ring.loss("ap", np.float32(scores), np.int8(targets), bank="b").info
            assert (reply.bank_version, reply.bank_chain) == (version, chain) and reply.bank_stale_ms < 5000
        told = {client.loss("ap", np.float32(scores), np.int8(targets), bank="b", enqueue=False, bank_version=3).info.bank_chain
                for client in (ring, http, far)}
        assert len(told) == 1 and len(told.pop()) == 32
    (tmp_path / "alone").mkdir()
    alone = BankDaemon(tmp_path / "alone", "--socket", tmp_path / "t")
    with alone:
        alone.bank("b", **SCORES)
        with rankd.connect(f"unix:{tmp_path}/t") as ring:
            assert ring.loss("ap", np.float32(scores), np.int8(targets), bank="b").info.bank_chain is None


def test_a_retry_through_another_daemon_gives_the_originals_bits(stores, share):  # noqa: F811
    store, batches = stores(), Batches(2)
    daemons = [share(store) for _ in range(2)]
    for d in daemons:
        d.bank("b", **SCORES)
    first = [batches.send(daemons[n % 2], "b", n) for n in range(12)]
    wait_equal(daemons, "b")
    daemons.append(share(store))  # a new daemon
    wait_equal(daemons, "b")
    for d in daemons:
        for n in range(12):
            again = batches.send(d, "b", n)
            assert {k: v for k, v in again.items() if k != "bank_stale_ms"} == \
                {k: v for k, v in first[n].items() if k != "bank_stale_ms"}, n
    with pytest.raises(Refused, match='was used for another batch before'):
        daemons[2].scores("b", *batches[4], batch_id="2-3")
    assert place(daemons[0], "b")[1] == 12


def test_a_retry_that_overtakes_the_original_on_its_way(stores, share):  # noqa: F811
    """The other daemon learns only from the store that the batch is there: it discards its own
    result."""
    master, batches = stores(), Batches(3)
    replica = stores("--save", "", "--replicaof", f"127.0.0.1 {master.port}")
    master.replicas_ready(1)
    one = share(master)
    other = share(master, "--bank-store-tail", f"127.0.0.1:{replica.port}", "--bank-store-timeout", "60s")
    one.bank("b", **SCORES)
    other.bank("b", **SCORES)
    for n in range(3):
        batches.send(one, "b", n)
    wait_equal([one, other], "b")
    replica.pause()
    want = [batches.send(one, "b", n) for n in range(3, 6)]
    got = {}
    threads = [threading.Thread(target=lambda n=n: got.update({n: batches.send(other, "b", n)})) for n in (5, 4, 3)]
    # The first batch comes last: once it is applied, the others would be computed against what
    # their originals read.
    for asked, thread in enumerate(threads, 1):
        thread.start()
        wait_until(lambda asked=asked: other.metric("rankd_bank_store_append_seconds_count", "b") >= asked)
    # The first retry was computed against the same version as its original, so it has the
    # original's result.
    wait_until(lambda: other.metric("rankd_bank_store_behind", "b") == 2)
    assert set(got) <= {3}
    replica.resume()
    for thread in threads:
        thread.join()
    for n in range(3, 6):
        assert {k: v for k, v in got[n].items() if k != "bank_stale_ms"} == \
            {k: v for k, v in want[n - 3].items() if k != "bank_stale_ms"}
    assert wait_equal([one, other], "b")[1] == 6


def test_an_id_of_an_empty_batch_is_known_everywhere(stores, share):  # noqa: F811
    store = stores()
    one, other = share(store), share(store)
    for d in (one, other):
        d.bank("e", kind="embeddings", dim=2, capacity=8)
    rows = [[1.0, 0.5], [0.5, 1.0]]
    one.embeddings("e", rows, [1, 1], batch_id="first")
    wait_until(lambda: other.bank("e")["version"] == 1)
    empty = [{"name": "embeddings", "datatype": "FP32", "shape": [0, 2], "data": []},
             {"name": "labels", "datatype": "INT64", "shape": [0], "data": []}]
    want = one.infer(empty, bank="e", batch_id="nothing")
    one.embeddings("e", rows, [2, 2], batch_id="second")
    wait_until(lambda: other.bank("e")["version"] == 2)
    got = other.infer(empty, bank="e", batch_id="nothing")
    assert got["bank_version"] == want["bank_version"] == 1 and got["bank_items"] == 2
    assert "bank_version_appended" not in want and place(one, "e") == place(other, "e")


def test_a_version_by_its_number(stores, share):  # noqa: F811
    store, batches = stores(), Batches(4)
    one, other = share(store), share(store)
    for d in (one, other):
        d.bank("b", **SCORES)
    seen = {}

    def wait():
        seen.update(other.scores("b", *batches[0], enqueue=False, bank_version=5))
    waiting = threading.Thread(target=wait)
    waiting.start()
    for n in range(7):
        batches.send(one, "b", n)
    waiting.join()
    assert seen["bank_version"] == 5 and seen["bank_items"] == 20
    assert one.scores("b", *batches[0], enqueue=False, bank_version=5)["loss"] == seen["loss"]
    for n in range(7, 120):
        batches.send(one, "b", n)
    with pytest.raises(Refused, match=r'409: version 3 of bank "b" is gone here; the oldest is \d+'):
        one.scores("b", *batches[0], enqueue=False, bank_version=3)
    with pytest.raises(Refused, match="bank_version was 1.5; it must be a whole number"):
        one.scores("b", *batches[0], enqueue=False, bank_version=1.5)
    with pytest.raises(Refused, match='deadline passed before bank "b" had version 1000; it is at version 120'):
        one.scores("b", *batches[0], enqueue=False, bank_version=1000, timeout=300000)


def test_a_version_of_a_bank_of_ones_own(tmp_path):
    batches = Batches(5)
    with BankDaemon(tmp_path) as daemon:
        daemon.bank("b", **SCORES)
        first = [batches.send(daemon, "b", n) for n in range(6)]
        assert daemon.scores("b", *batches[3], enqueue=False, bank_version=3)["loss"] == first[3]["loss"]
        daemon.kill()
        daemon.start()
        assert daemon.scores("b", *batches[3], enqueue=False, bank_version=3)["loss"] == first[3]["loss"]
        assert "bank_chain" not in daemon.scores("b", *batches[3], enqueue=False)


def test_clear_checkpoint_restore_delete_on_all(stores, share):  # noqa: F811
    store, batches = stores(), Batches(6)
    one, other = share(store), share(store)
    for d in (one, other):
        d.bank("b", **SCORES)
    for n in range(20):
        batches.send(one, "b", n)
    saved = wait_equal([one, other], "b")
    print_saved = fingerprint(one, "b")
    taken = other.call("PUT", "/v2/banks/b/checkpoints/t1")
    assert (taken["version"], taken["items"], taken["generation"]) == (20, 64, 1)
    with pytest.raises(Refused, match='checkpoint "t1" of bank "b" exists'):
        one.call("PUT", "/v2/banks/b/checkpoints/t1")
    for n in range(20, 60):  # past what the checkpoint holds
        batches.send(other, "b", n)
    wait_equal([one, other], "b")
    cleared = one.call("POST", "/v2/banks/b/clear")
    assert (cleared["items"], cleared["generation"], cleared["version"], cleared["daemons_behind"]) == (0, 2, 60, 0)
    wait_equal([one, other], "b")
    with pytest.raises(Refused, match="before it was cleared"):
        batches.send(other, "b", 59)
    batches.send(other, "b", 100)
    restored = one.call("POST", "/v2/banks/b/checkpoints/t1/restore")
    assert (restored["items"], restored["generation"], restored["version"], restored["daemons_behind"]) == (64, 3, 20, 0)
    assert wait_equal([one, other], "b")[1] == 20
    assert fingerprint(other, "b") == print_saved and saved[2] != place(one, "b")[2]
    assert batches.send(other, "b", 20)["bank_version_appended"] == 21
    assert batches.send(one, "b", 19)["bank_version_appended"] == 20
    assert [c["tag"] for c in one.call("GET", "/v2/banks/b/checkpoints")] == ["t1"]
    late = share(store)
    wait_equal([one, other, late], "b")
    one.call("DELETE", "/v2/banks/b/checkpoints/t1")
    with pytest.raises(Refused, match='404: bank "b" has no checkpoint "t1"'):
        other.call("POST", "/v2/banks/b/checkpoints/t1/restore")
    for n in range(200, 300):
        batches.send(late, "b", n)
    wait_equal([one, other, late], "b")
    assert int(store.state("b")["t"]) >= 1
    other.call("DELETE", "/v2/banks/b")
    wait_until(lambda: not late.call("GET", "/v2/banks") and not one.call("GET", "/v2/banks"))
    assert [k for k in store.keys() if "{b}" in k] == ["rankd:{b}:gone"]
    assert one.bank("b", **SCORES)["version"] == 0


def test_what_a_store_must_be(stores, share, tmp_path):  # noqa: F811
    store = stores("--save", "", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with pytest.raises(RuntimeError, match="maxmemory-policy of the store at 127.0.0.1:[0-9]+ is allkeys-lru; it must be "
                                           "noeviction"):
        share(store)
    store.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    daemon = share(store)
    with pytest.raises(Refused, match='on_full is "memory"; it must be "refuse"'):
        daemon.bank("b", on_full="memory", **SCORES)
    with pytest.raises(Refused, match='durability "always" needs a store that waits for its disk'):
        daemon.bank("b", durability="always", **SCORES)
    store.ask("CONFIG", "SET", "appendonly", "yes")
    store.ask("CONFIG", "SET", "appendfsync", "always")
    daemon.bank("b", durability="always", **SCORES)
    assert Batches(1).send(daemon, "b", 0)["bank_version_appended"] == 1
    with pytest.raises(Refused, match='exists with another configuration'):
        daemon.bank("b", **{**SCORES, "capacity": 65})


@pytest.mark.parametrize("flags, sentence", [
    (["--bank-store", "rediss://h:1"], "no TLS towards a store"),
    (["--bank-store", "redis://:secret@h"], "bank-store has a password in it"),
    (["--bank-store", "http://h"], "it must be redis://"),
    (["--bank-store", "redis://h:0"], "its address is none"),
    (["--bank-store", "redis://h,i"], "its address is none"),
    (["--bank-store", "redis+sentinel://h,i"], "does not say how the Sentinels call the master"),
    (["--bank-store", "redis://h/a b"], "its prefix has other characters"),
    (["--bank-store", "redis://h", "--bank-store-tail", "h:x"], "bank-store-tail is"),
])
def test_flags_that_are_wrong(tmp_path, flags, sentence):
    with pytest.raises(RuntimeError, match=sentence) as failed:
        Daemon(tmp_path, *[str(tmp_path / "x") if flag == "x" else flag for flag in flags])
    assert not (tmp_path / "x").exists()
    assert "secret" not in str(failed.value).replace("has a password", "")


def test_the_password_is_told_to_nobody(stores, share, tmp_path):  # noqa: F811
    import subprocess
    from conftest import BUILD
    store = stores("--save", "", "--requirepass", "Tr0mb0ne")
    store.password = "Tr0mb0ne"
    secret = tmp_path / "secret"
    secret.write_text("Tr0mb0ne\n")
    daemon = share(store, "--bank-store-password-file", secret, "--log-level", "debug")
    daemon.bank("b", **SCORES)
    assert Batches(1).send(daemon, "b", 0)["bank_version_appended"] == 1
    wrong = tmp_path / "wrong"
    wrong.write_text("Tr0mb0nf\n")
    other = share(store, "--bank-store-password-file", wrong)
    with pytest.raises(Refused, match="503: the store has not answered yet"):
        other.bank("b")
    assert "refuses the password" in other.log_text()
    wrong.write_text("Tr0mb0ne\n")  # it is read again
    wait_until(lambda: other.bank("b")["version"] == 1)
    printed = subprocess.run([BUILD / "rankd", *daemon.flags, "--print-config"], capture_output=True, text=True,
                             check=True).stdout
    page = str(daemon.call("GET", "/metrics")) + str(daemon.call("GET", "/v2/banks"))
    for text in (daemon.log_text(), other.log_text(), printed, page):
        assert "Tr0mb0n" not in text


def test_prefixes_keep_fleets_apart(stores, share):  # noqa: F811
    store = stores()
    one, other = share(f"{store.url}/one"), share(f"{store.url}/two")
    one.bank("b", **SCORES)
    Batches(1).send(one, "b", 0)
    assert other.bank("b", **SCORES)["version"] == 0
    assert all(k.startswith(("one:", "two:")) for k in store.keys())
