# SPDX-License-Identifier: Apache-2.0
"""Redis servers of a test's own, and daemons with banks in one."""
import os
import signal
import socket
import subprocess
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
    """A redis-server that can be asked, stopped, killed and started again with what it has on disk."""

    def __init__(self, folder, *flags, port=None, sentinel=None):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.flags = [str(f) for f in flags or LEAST]
        self.port = port or free_port()
        self.sentinel = sentinel
        self.password = None
        self.process = None
        self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def start(self, timeout=20.0):
        command = ["redis-server"]
        if self.sentinel:
            (self.folder / "sentinel.conf").write_text(f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n{self.sentinel}\n")
            command += [str(self.folder / "sentinel.conf"), "--sentinel"]
        else:
            command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--repl-diskless-sync-delay", "0",
                        *self.flags]
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
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s, s.makefile("rwb") as f:
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
    """Its first true value."""
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
    """Until all are at the same generation, version and chain, and current; that place. Then they hold the same."""
    def equal():
        about = [d.bank(bank) for d in daemons]
        places = {(a["generation"], a["version"], a["chain"]) for a in about}
        return places if len(places) == 1 and all(a["store_state"] == "current" for a in about) else None
    (found,) = wait_until(equal, timeout)
    prints = [fingerprint(d, bank) for d in daemons]
    assert all(p == prints[0] for p in prints), prints
    return found


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
    """share(store, *flags): a daemon on it, which ends with the test."""
    made = []

    def make(store, *flags, **options):
        made.append(StoreDaemon(tmp_path / f"daemon{len(made)}", store, *flags, **options))
        return made[-1]
    yield make
    for daemon in made:
        text = daemon.log_text()
        daemon.kill()
        assert "Sanitizer" not in text and "component=crash" not in text, text[-4000:]


__all__ = ["Batches", "EVERYSEC", "LEAST", "Refused", "Store", "StoreDaemon", "StoreError", "fingerprint", "free_port", "place",
           "share", "stores", "wait_equal", "wait_until", "os"]
