# SPDX-License-Identifier: Apache-2.0
"""The files of a user's own daemon on this machine, and how much memory it may take.

The runtime folder holds the lock, the socket and the log: $XDG_RUNTIME_DIR/rankd, else
/run/user/UID/rankd, else rankd-UID in the folder for temporary files. The state folder holds the
banks: $XDG_STATE_HOME/rankd/HOST, by default ~/.local/state/rankd/HOST. It is one for each host,
because homes are often shared by the machines of a cluster, and a data folder has one daemon.
"""
from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import CannotStart

SYSTEM_SOCKET = "/run/rankd/rankd.sock"
LONGEST_SOCKET = 107  # bytes of a Unix socket's path
_MOST_LOG = 1 << 20


@dataclass(frozen=True)
class Home:
    """The files of the daemon that all processes of a user share."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "rankd.sock"

    @property
    def lock(self) -> Path:
        """Held from the start of the daemon to its end; its text names the process."""
        return self.folder / "rankd.lock"

    @property
    def log(self) -> Path:
        return self.folder / "rankd.log"

    def open_log(self) -> int:
        """A descriptor that appends to the log; a long log becomes rankd.log.old first."""
        try:
            if self.log.stat().st_size > _MOST_LOG:
                self.log.replace(self.log.with_suffix(".log.old"))
        except OSError:
            pass
        return os.open(self.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def system_socket() -> str:
    """Of the daemon that serves the whole machine; RANKD_SYSTEM_SOCKET names another."""
    return os.environ.get("RANKD_SYSTEM_SOCKET") or SYSTEM_SOCKET


def find_home() -> Home:
    """The runtime folder, created if necessary: owned by this user, and closed to others.
    CannotStart if there is no place for one."""
    reasons = []
    for folder in _runtime_folders():
        reason = _prepare(folder)
        if reason is None:
            return Home(folder)
        reasons.append(reason)
    raise CannotStart("there is no folder for a daemon of this user: " + "; ".join(reasons))


def _runtime_folders() -> Iterator[Path]:
    uid = os.geteuid()
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(given):
        yield Path(given) / "rankd"
    usual = Path(f"/run/user/{uid}")
    if usual.is_dir() and usual.stat().st_uid == uid:
        yield usual / "rankd"
    yield Path(tempfile.gettempdir()).resolve() / f"rankd-{uid}"


def _prepare(folder: Path) -> str | None:
    """Creates the folder. None, or the reason why it can't be used: another user may have created
    it first, to pose as the daemon."""
    if len(os.fsencode(folder / "rankd.sock")) > LONGEST_SOCKET:
        return f"{folder} is too long for a socket's path"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            return f"{folder} is not a folder of uid {os.geteuid()}"
        if found.st_mode & 0o077:
            return f"{folder} is open to others (mode {stat.S_IMODE(found.st_mode):o}; it must be 700)"
        os.close(os.open(Home(folder).lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None


def state_folder() -> tuple[Path | None, str]:
    """The folder for banks, created if necessary; or None and the reason if it can't be written."""
    base = os.environ.get("XDG_STATE_HOME", "")
    try:
        folder = (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "rankd" / socket.gethostname()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        return None, getattr(error, "strerror", None) or str(error)
    if not os.access(folder, os.W_OK | os.X_OK):
        return None, f"{folder} can't be written"
    return folder, ""


def memory_bytes() -> int:
    """Memory for processes that are started here: the machine's, or less if a control group has a
    limit."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _limit_files():
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            limits.append(int(text))
    return min(limits)


def _limit_files() -> Iterator[Path]:
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            group = root / path.lstrip("/")
            while group != root.parent:
                yield group / "memory.max"
                group = group.parent
        elif "memory" in controllers.split(","):
            yield root / "memory" / path.lstrip("/") / "memory.limit_in_bytes"
    yield root / "memory" / "memory.limit_in_bytes"
