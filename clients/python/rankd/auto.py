# SPDX-License-Identifier: Apache-2.0
"""The daemon of a client without a URL: the machine's, or one of this user's own, which is started
at the first request.

All processes of a user on a machine share one such daemon. A process that finds no daemon on its
socket takes the lock, starts one and leaves the lock to it: the daemon inherits the locked
descriptor, and the kernel releases the lock when the last process that has it is gone. So there is
one daemon at most, no file names a dead process, and a killed daemon leaves nothing to clean up. It
ends by itself some time after its last client (--ring-linger).
"""
from __future__ import annotations

import fcntl
import json
import logging
import os
import random
import re
import time
from typing import Any

from ._version import VERSION
from .errors import CannotStart, Overloaded, RankdError
from .home import Home, memory_bytes, state_folder
from .start import end, listener, start
from .wire import Deadline

log = logging.getLogger("rankd")

_START_WITHIN = 60.0  # seconds, whichever process starts it; banks are read from the disk meanwhile
_ANSWER_WITHIN = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05

_IN_USE = "is in use by another rankd"  # as the daemon says it of its data folder

_locks: set[int] = set()  # descriptors of this process, while a daemon is being started


def _close_locks() -> None:
    """A child that is forked meanwhile would hold the lock as long as it runs."""
    while _locks:
        os.close(_locks.pop())


os.register_at_fork(after_in_child=_close_locks)


def guest_settings() -> dict[str, object]:
    """Options of a daemon that no administrator configured: it takes little memory. RANKD_
    variables of this process override them."""
    memory = memory_bytes()
    settings: dict[str, object] = {
        "ring_linger": _linger(), "log_level": "warn", "budget_bytes": max(min(1 << 30, memory // 4), 1 << 20),
        "ring_bytes": max(memory // 2, 64 << 20), "ring_uid_bytes": max(memory // 2, 64 << 20),
        "bank_bytes": max(min(8 << 30, memory // 4), 1 << 20), "ring_connections": 1024, "ring_uid_segments": 1024}
    if "RANKD_DATA" not in os.environ:
        folder, reason = state_folder()
        if folder is None:
            log.warning("rankd: banks are kept in memory only, because there is no folder for them: %s", reason)
        else:
            settings["data"] = folder
    return {name: value for name, value in settings.items() if f"RANKD_{name.upper()}" not in os.environ}


def _linger() -> str:
    """RANKD_LINGER, as the daemon reads times. A bare number is milliseconds for the daemon, but
    seconds here."""
    value = os.environ.get("RANKD_LINGER") or "60s"
    if not re.fullmatch("0|[0-9]{1,9}(ms|s|min)", value):
        raise CannotStart(f"RANKD_LINGER is '{value}'; it may be a time such as 500ms, 60s or 10min, or 0 for a daemon that "
                          "stays")
    return value


def ensure(home: Home, deadline: Deadline | None = None) -> None:
    """Returns when this user's daemon takes requests; starts it if there is none. Raises
    CannotStart."""
    deadline = deadline or Deadline(_START_WITHIN)
    pause = _FIRST_PAUSE
    while not _is_there(home, deadline):
        lock = _try_lock(home)
        if lock is not None:
            try:
                # The former owner of the lock may have started one meanwhile.
                if not _is_there(home, deadline):
                    _start(home, lock, deadline)
                    return
            finally:
                _locks.discard(lock)
                os.close(lock)
            continue
        # The daemon is being started, or is ending. Many processes may wait, and should not all
        # retry at once.
        try:
            time.sleep(min(pause * random.uniform(0.5, 1.0), deadline.left()))
        except TimeoutError as error:
            raise CannotStart(f"the daemon of this user does not answer within {deadline.seconds:g} s: {home.lock} is held "
                              f"{_holder(home)}, and no process answers on {home.socket}") from error
        pause = min(2 * pause, _LONGEST_PAUSE)


def _try_lock(home: Home) -> int | None:
    """The locked descriptor, in `_locks` until it is closed; None if somebody else has the lock."""
    try:
        lock = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise CannotStart(f"{home.lock} can't be opened: {error.strerror}") from error
    _locks.add(lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock), os.stat(home.lock)):  # not deleted meanwhile
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    _locks.discard(lock)
    os.close(lock)
    return None


def _start(home: Home, lock: int, deadline: Deadline) -> None:
    try:
        sink = home.open_log()
    except OSError as error:
        raise CannotStart(f"{home.log} can't be opened: {error.strerror}") from error
    try:
        start({"http": "off", "socket": home.socket, **guest_settings()}, sink, deadline, keep=[lock])
    except CannotStart as error:
        if _IN_USE not in error.sentence:
            raise
        raise CannotStart(f"{error.sentence}, most likely by a daemon of yours whose runtime folder is not {home.folder} "
                          "(XDG_RUNTIME_DIR or TMPDIR differed): RANKD_URL=unix:FOLDER/rankd.sock uses that daemon; "
                          "RANKD_DATA=FOLDER gives this one another folder for its banks, and RANKD_DATA= keeps them in "
                          "memory") from error
    finally:
        os.close(sink)
    version = _about(home, deadline)["version"]
    if version != VERSION:
        raise CannotStart(f"the daemon of this installation is rankd {version}, and the package is {VERSION}: reinstall it, or "
                          "build again")
    pid = listener(home.socket)
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{pid} {VERSION}\n".encode(), 0)
    except OSError:
        pass  # a full disk: the text is for people only
    log.info("rankd: started the daemon of this user, process %s on %s, log in %s", pid, home.socket, home.log)


def _about(home: Home, deadline: Deadline) -> dict[str, Any]:
    """The daemon's document about itself, with the number of its `clients`, this one included.
    Raises RankdError."""
    from .ring import RingTransport

    probe = RingTransport(f"unix:{home.socket}?arena=1M&entries=2&spin_us=0")
    limit = min(_ANSWER_WITHIN, deadline.left())
    try:
        about: dict[str, Any] = json.loads(probe.call("GET", "/v2", b"", limit))
        if about.get("version") != VERSION:
            metrics = probe.call("GET", "/metrics", b"", limit)
            found = re.search(rb"^rankd_ring_segments ([0-9]+)", metrics, re.M)
            about["clients"] = int(found[1]) if found else 0
    finally:
        probe.close()
    return about


def _is_there(home: Home, deadline: Deadline) -> bool:
    """Whether a daemon of this version answers. One of another version is asked to end if it has no
    client but us."""
    try:
        about = _about(home, deadline)
    except (ConnectionError, TimeoutError):  # no daemon, or one that ends
        return False
    except Overloaded:
        raise
    except RankdError as error:
        raise CannotStart(f"the daemon of this user on {home.socket} does not let this process in: {error.sentence}") from error
    version = about.get("version")
    if version == VERSION:
        return True
    pid = listener(home.socket)
    if about["clients"] > 1 or pid is None:
        raise CannotStart(f"the daemon of this user (process {pid}) is rankd {version}, this package is {VERSION}, and another "
                          f"client uses that daemon: it ends some time after its last one (RANKD_LINGER), and "
                          f"RANKD_URL=unix:{home.socket} uses it as it is")
    log.info("rankd: ending the idle daemon of version %s (process %s), because this package is %s", version, pid, VERSION)
    end(pid, min(_ANSWER_WITHIN, deadline.left()))
    return False


def _holder(home: Home) -> str:
    try:
        text = home.lock.read_text().split()
    except OSError:
        text = []
    return f"by process {text[0]}" if text else "by a process that starts it"


def running(home: Home) -> dict[str, Any] | None:
    """The document of this user's daemon about itself, with `pid`; None if there is none. Starts
    none."""
    pid = listener(home.socket)
    if pid is None:
        return None
    try:
        return {**_about(home, Deadline(_ANSWER_WITHIN)), "pid": pid}
    except RankdError as error:
        return {"pid": pid, "version": f"? ({error.sentence})"}
