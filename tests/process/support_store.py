# SPDX-License-Identifier: Apache-2.0
"""Redis servers for a test, and daemons with banks in one of them."""
import ctypes
import os
import random
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import Daemon
from support_bank import BankDaemon, Batches, Refused, fingerprint

LEAST = ["--save", "", "--appendonly", "no"]
EVERYSEC = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
SAID = {}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class StoreError(Exception):
    pass


class Store:
    """A redis-server that can be asked, stopped, killed and started again with its files."""

    def __init__(self, folder, *flags, port=None, sentinel=None, host="127.0.0.1", wrapper=()):
        self.folder, self.host, self.wrapper = folder, host, list(wrapper)
        folder.mkdir(parents=True, exist_ok=True)
        self.flags = [str(f) for f in flags or LEAST]
        self.port = port or free_port()
        self.sentinel = sentinel
        self.password = None
        self.process = None
        self.start()

    @property
    def url(self):
        return f"redis://{self.host}:{self.port}"

    def start(self, timeout=20.0):
        command = [*self.wrapper, "redis-server"]
        if self.sentinel:
            (self.folder / "sentinel.conf").write_text(f"port {self.port}\nbind {self.host}\ndir {self.folder}\n{self.sentinel}\n")
            command += [str(self.folder / "sentinel.conf"), "--sentinel"]
        else:
            command += ["--port", str(self.port), "--bind", self.host, "--dir", str(self.folder), "--repl-diskless-sync-delay",
                        "0", *self.flags]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + timeout
        while True:
            try:
                if self.ask("PING") == "PONG":
                    return self
            except (OSError, StoreError) as e:
                if "NOAUTH" in str(e):
                    return self
                if time.monotonic() > until or self.process.poll() is not None:
                    raise RuntimeError(f"redis-server did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.02)

    def ask(self, *words, timeout=20.0):
        """One command; its answer as text, number, list or None."""
        with socket.create_connection((self.host, self.port), timeout=timeout) as s, s.makefile("rwb") as f:
            commands = ([("AUTH", self.password)] if self.password else []) + [words]
            for command in commands:
                f.write(b"*%d\r\n" % len(command))
                for word in command:
                    data = word if isinstance(word, bytes) else str(word).encode()
                    f.write(b"$%d\r\n%s\r\n" % (len(data), data))
            f.flush()
            for _ in commands:
                answer = self._read(f)
            return answer

    def _read(self, f):
        line = f.readline()
        if not line:
            raise OSError("the server closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise StoreError(rest.decode())
        if kind == b"+":
            return rest.decode()
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else f.read(int(rest) + 2)[:-2].decode(errors="replace")
        return None if rest == b"-1" else [self._read(f) for _ in range(int(rest))]

    def keys(self):
        return sorted(self.ask("KEYS", "*"))

    def state(self, bank, prefix="rankd"):
        row = self.ask("HGETALL", f"{prefix}:{{{bank}}}:state")
        return dict(zip(row[::2], row[1::2]))

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.send_signal(signal.SIGCONT)
        if self.process:
            self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def replicas_ready(self, count, timeout=20.0):
        wait_until(lambda: self.ask("INFO", "replication").count("state=online") >= count, timeout)


class StoreDaemon(BankDaemon):
    def __init__(self, folder, store, *flags, replicas=0, **options):
        self.data = None
        folder.mkdir(parents=True, exist_ok=True)
        url = store if isinstance(store, str) else store.url
        Daemon.__init__(self, folder, "--bank-store", url, "--bank-store-replicas", str(replicas), *flags, **options)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


def wait_until(condition, timeout=20.0):
    """Waits for, and returns, the first true value of the condition."""
    until = time.monotonic() + timeout
    while True:
        try:
            value = condition()
        except (OSError, Refused, StoreError):
            value = None
        if value:
            return value
        assert time.monotonic() < until, "what was waited for did not come"
        time.sleep(0.01)


def place(daemon, bank):
    about = daemon.bank(bank)
    return about["generation"], about["version"], about["chain"]


def wait_equal(daemons, bank, timeout=30.0):
    """Waits until all daemons are current at the same generation, version and chain, so that they
    hold the same items. Returns that place."""
    def equal():
        about = [d.bank(bank) for d in daemons]
        places = {(a["generation"], a["version"], a["chain"]) for a in about}
        return places if len(places) == 1 and all(a["store_state"] == "current" for a in about) else None
    (found,) = wait_until(equal, timeout)
    prints = [fingerprint(d, bank) for d in daemons]
    assert all(p == prints[0] for p in prints), prints
    return found


class Name(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash = ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_128bits.restype = Name
xxhash.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def name_of(batch_id):
    """The name in the form of the index."""
    name = xxhash.XXH3_128bits(batch_id.encode(), len(batch_id))
    return f"{name.high | 1:016x}{name.low:016x}"


class Ledger:
    """The acknowledged batches, compared with the index of the store: every name once, none
    missing."""

    def __init__(self):
        self.acknowledged = {}  # name: version; several threads add to it
        self.places = {}        # name: version in the index; also of entries that were trimmed since
        self.lost = set()
        self.moments = []       # of each acknowledgement

    def check(self, store):
        known = dict(self.acknowledged)  # before the index is read
        rows = [(int(row[0].split("-")[0]), row[1][1].split()[5]) for row in store.ask("XRANGE", "rankd:{b}:index", "-", "+")]
        first = rows[0][0] if rows else 0
        names = dict((name, v) for v, name in rows)
        assert len(names) == len(rows), "a batch is twice in the index"
        assert [v for v, _ in rows] == list(range(first, first + len(rows))), "a version is missing in the index"
        for name, v in names.items():
            assert self.places.get(name, first) >= first, "a batch was appended again after its entry had been trimmed"
            self.places[name] = v
        self.lost |= {name for name, v in known.items() if v >= first and name not in names}
        for name in self.lost:  # its trainer's retry would be a new batch
            self.acknowledged.pop(name, None)

    def gap(self, begun):
        """The longest time without an acknowledgement since `begun`."""
        moments = [begun, *(m for m in self.moments if m > begun)]
        return max((b - a for a, b in zip(moments, moments[1:])), default=0)


class Trainers:
    """Threads that send batch after batch to any of the daemons, and repeat refused ones."""

    def __init__(self, daemons, ledger, count=4):
        self.problems, self.over = [], threading.Event()
        self.threads = [threading.Thread(target=self.train, args=(daemons, ledger, i)) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def train(self, daemons, ledger, who):
        batches, own, n = Batches(200 + who), random.Random(who), 0
        connections = [d.connect() for d in daemons]
        while not self.over.is_set():
            i = own.randrange(len(daemons))
            try:
                reply = batches.send(daemons[i], "b", n, connections[i])
            except Refused as e:
                if e.status != 503:
                    self.problems.append(e)
                    return
                time.sleep(0.02)
                continue
            ledger.acknowledged[name_of(f"{batches.seed}-{n}")] = reply["bank_version_appended"]
            ledger.moments.append(time.monotonic())
            n += 1

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert not self.problems, self.problems


@pytest.fixture
def stores(tmp_path):
    made = []

    def make(*flags, **options):
        made.append(Store(tmp_path / f"store{len(made)}", *flags, **options))
        return made[-1]
    yield make
    for store in made:
        store.kill()


@pytest.fixture
def share(tmp_path):
    """share(store, *flags) starts a daemon on the store, which ends with the test."""
    made = []

    def make(store, *flags, **options):
        made.append(StoreDaemon(tmp_path / f"daemon{len(made)}", store, *flags, **options))
        return made[-1]
    yield make
    for daemon in made:
        text = daemon.log_text()
        daemon.kill()
        assert "Sanitizer" not in text and "component=crash" not in text, text[-4000:]


__all__ = ["Batches", "EVERYSEC", "LEAST", "Ledger", "Refused", "Store", "StoreDaemon", "StoreError", "Trainers", "fingerprint",
           "free_port", "name_of", "place", "share", "stores", "wait_equal", "wait_until", "os"]
