# SPDX-License-Identifier: Apache-2.0
"""Starts a daemon in the background, and finds out which process one is."""
from __future__ import annotations

import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import CannotStart
from .programs import program
from .wire import Deadline

# The variables of options that would make the daemon listen at another place than expected.
_NOT_FOR_IT = ("RANKD_HTTP", "RANKD_SOCKET", "RANKD_DETACH", "RANKD_CONFIG", "RANKD_TOKENS", "RANKD_TLS_CERT", "RANKD_TLS_KEY",
               "RANKD_INSECURE", "RANKD_ALLOW_SHM_REGIONS", "NOTIFY_SOCKET")

# If another thread forks a child while subprocess has a pipe to the new process open, that child
# would keep the pipe open, and subprocess would wait for its end.
_spawning = threading.RLock()
os.register_at_fork(before=_spawning.acquire, after_in_parent=_spawning.release, after_in_child=_spawning.release)


def start(settings: Mapping[str, object], log: int, deadline: Deadline, *, keep: Sequence[int] = (),
          inherit: bool = True) -> None:
    """Returns when a daemon with these settings (names of options with _ for -) takes requests. It
    is a session of its own, whose parent is not this process. Descriptor `log` gets its log; those
    in `keep` stay open in it. Without `inherit` no RANKD_ variable of this process counts.

    Raises CannotStart with the daemon's sentence."""
    import subprocess

    binary = program("rankd")
    if binary is None:
        raise CannotStart("this installation of rankd has no daemon")
    command = [str(binary), "--detach=true", *(f"--{name.replace('_', '-')}={_text(value)}" for name, value in settings.items())]
    environment = {name: value for name, value in os.environ.items()
                   if name not in _NOT_FOR_IT and (inherit or not name.startswith("RANKD_"))}
    before = os.fstat(log).st_size
    try:
        with _spawning:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                                       pass_fds=tuple(keep), cwd="/", env=environment, start_new_session=True)
    except OSError as error:
        raise CannotStart(f"{binary} can't be run: {error.strerror}") from error
    try:
        code = process.wait(deadline.left())
    except (subprocess.TimeoutExpired, TimeoutError) as error:
        raise CannotStart(f"{binary} did not take requests within {deadline.seconds:g} s") from error
    finally:
        if process.returncode is None:  # also at a KeyboardInterrupt
            process.kill()
            process.wait()
    if code:
        raise CannotStart(_sentence(log, before) or f"{binary} ended with status {code}")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sentence(log: int, begin: int) -> str:
    """The last sentence of the daemon in the log, after the first `begin` bytes."""
    lines = os.pread(log, 65536, max(begin, os.fstat(log).st_size - 65536)).decode(errors="replace").splitlines()
    said = [line.removeprefix("rankd: ") for line in lines if line.startswith("rankd: ")] or lines
    return said[-1] if said else ""


def listener(path: Path | str) -> int | None:
    """The process that listens on the Unix socket; None if nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.settimeout(5)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return None
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid or None  # 0: of another pid namespace


def end(pid: int, seconds: float) -> bool:
    """Asks the daemon to end, which it does after it has answered its requests. Returns whether it
    ended within `seconds`."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(watch, signal.SIGTERM)
        return bool(select.select([watch], [], [], seconds)[0])
    except ProcessLookupError:
        return True
    finally:
        os.close(watch)
