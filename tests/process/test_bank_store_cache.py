# SPDX-License-Identifier: Apache-2.0
"""With a bank in a store, --data is a cache of payloads: a daemon that starts again reads from its
disk the payloads that the store's index names, checks them like those from the store, and fetches
the rest. Whatever happens to the files, it holds the same items as the others."""
import re

import pytest
from support_store import Batches, share, stores, wait_equal, wait_until  # noqa: F401

SCORES = {"kind": "scores", "lists": 1, "capacity": 256}
LINE = r'bank \\"b\\" read from the store: (\d+) items, version (\d+), (\d+) batches in [0-9.]+ s, (\d+) of them from this disk'


def gets(store):
    found = re.search(r"cmdstat_get:calls=(\d+)", store.ask("INFO", "commandstats"))
    return int(found[1]) if found else 0


def reads(daemon):
    """For each time that the bank was read: the number of batches, and of those from the disk."""
    return [(int(n), int(cached)) for _, _, n, cached in re.findall(LINE, daemon.log_text())]


def files(folder):
    return sorted((folder / "store").glob("*.[01]"))


@pytest.fixture
def pair(stores, share, tmp_path):  # noqa: F811
    """A store, a daemon with a cache and one without, and a bank with twenty batches, ten through
    each."""
    store, batches = stores(), Batches(50)
    cached, plain = share(store, "--data", tmp_path / "data"), share(store)
    for d in (cached, plain):
        d.bank("b", **SCORES)
    for n in range(20):
        batches.send((cached, plain)[n % 2], "b", n)
    wait_equal([cached, plain], "b")
    return store, cached, plain, tmp_path / "data"


def test_a_start_fetches_nothing_that_is_on_the_disk(pair):
    store, cached, plain, _ = pair
    cached.kill()
    before = gets(store)
    cached.start()
    wait_equal([cached, plain], "b")
    assert reads(cached)[-1] == (20, 20) and gets(store) == before
    for n in range(20, 25):
        Batches(50).send(plain, "b", n)
    wait_equal([cached, plain], "b")
    cached.kill()
    for n in range(25, 28):
        Batches(50).send(plain, "b", n)
    cached.start()
    wait_equal([cached, plain], "b")
    assert reads(cached)[-1] == (28, 25)


@pytest.mark.parametrize("cut", [1, 64, 150, 2000])
def test_a_torn_file_is_good_up_to_there(pair, cut):
    _, cached, plain, data = pair
    cached.kill()
    longest = max(files(data), key=lambda f: f.stat().st_size)
    with open(longest, "r+b") as file:
        file.truncate(max(longest.stat().st_size - cut, 0))
    cached.start()
    wait_equal([cached, plain], "b")
    batches, taken = reads(cached)[-1]
    assert batches == 20 and taken < 20
    cached.kill()
    cached.start()
    wait_equal([cached, plain], "b")
    assert reads(cached)[-1] == (20, 20), "what had been fetched was not kept"


@pytest.mark.parametrize("at", [3, 70, 140, 300, 1200])
def test_a_damaged_byte_is_not_served(pair, at):
    _, cached, plain, data = pair
    cached.kill()
    longest = max(files(data), key=lambda f: f.stat().st_size)
    content = bytearray(longest.read_bytes())
    content[at] ^= 0x40
    longest.write_bytes(content)
    cached.start()
    wait_equal([cached, plain], "b")
    assert reads(cached)[-1][1] < 20


def test_what_the_index_does_not_name_is_not_used(pair):
    """The bank was cleared while the daemon was down: no cached batch belongs to it any more."""
    _, cached, plain, _ = pair
    cached.kill()
    plain.call("POST", "/v2/banks/b/clear")
    for n in range(30, 33):
        Batches(50).send(plain, "b", n)
    cached.start()
    wait_equal([cached, plain], "b")
    assert reads(cached)[-1] == (3, 0) and cached.bank("b")["items"] == 12


def test_files_of_banks_that_are_gone_go(pair):
    _, cached, plain, data = pair
    assert len(files(data)) == 2
    plain.call("DELETE", "/v2/banks/b")
    wait_until(lambda: not cached.call("GET", "/v2/banks"))
    assert not files(data)
    cached.bank("b", **SCORES)
    Batches(51).send(cached, "b", 0)
    first = files(data)
    wait_equal([cached, plain], "b")
    cached.kill()
    plain.call("DELETE", "/v2/banks/b")
    plain.bank("b", **SCORES)
    (data / "store" / "notes.txt").write_text("kept")
    cached.start()
    wait_equal([cached, plain], "b")
    assert not set(first) & set(files(data)) and (data / "store" / "notes.txt").exists()


def test_the_files_keep_a_bound(stores, share, tmp_path):  # noqa: F811
    store, batches = stores(), Batches(52)
    daemon, plain = share(store, "--data", tmp_path / "data"), share(store)
    daemon.bank("b", **SCORES)
    for n in range(400):  # 256 items are 64 batches
        batches.send(daemon, "b", n)
    sizes = [f.stat().st_size for f in files(tmp_path / "data")]
    assert max(sizes) <= (256 + 64) * (5 + 32) and min(sizes) > 0, sizes
    daemon.kill()
    daemon.start()
    wait_equal([daemon, plain], "b")
    batches, taken = reads(daemon)[-1]
    assert 0 < taken <= batches


def test_a_folder_is_one_daemons(pair, share):  # noqa: F811
    store, _, _, data = pair
    with pytest.raises(RuntimeError, match="is in use by another rankd"):
        share(store, "--data", data)
