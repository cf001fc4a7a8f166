# SPDX-License-Identifier: Apache-2.0
"""Finds the daemon for a client without a URL: transport `FoundTransport`.

In this order: RANKD_URL (client.py), the machine's socket if it lets this user in, a daemon of
this user's own. Where that is switched off (RANKD_AUTOSTART=0), or this installation has no daemon,
http://127.0.0.1:8080. A process searches once and keeps the result, so that the banks of a job
are not divided between two daemons.
"""
from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from .auto import ensure
from .errors import ConnectionFailed, RankdError
from .home import Home, find_home, system_socket
from .programs import program
from .transport import InferReply, InferRequest, Transport
from .wire import Deadline

DEFAULT_URL = "http://127.0.0.1:8080"
_RING = "?arena=8M&spin_us=50"  # a small segment is made quickly; a larger one is made when a request needs it
_ANSWER_WITHIN = 5.0

log = logging.getLogger("rankd")


@dataclass(frozen=True)
class Place:
    """A daemon: its URL, its files if it is this user's own, and a sentence that says why it is
    this one."""

    url: str
    home: Home | None
    why: str


_found: dict[tuple[str | None, ...], Place] = {}


def autostart() -> bool:
    """Whether RANKD_AUTOSTART lets a daemon be started; it may be 0 or 1."""
    value = os.environ.get("RANKD_AUTOSTART") or "1"
    if value not in ("0", "1"):
        raise ValueError(f"RANKD_AUTOSTART is '{value}'; it may be 0 or 1")
    return value == "1"


def find() -> Place:
    """The daemon for this process. Starts none, and says in one log line if the machine's does not
    let this user in."""
    key = tuple(os.environ.get(name) for name in ("RANKD_AUTOSTART", "RANKD_SYSTEM_SOCKET", "XDG_RUNTIME_DIR"))
    if key not in _found:
        _found[key] = _look()
    return _found[key]


def _look() -> Place:
    own = autostart()
    path = system_socket()
    if os.path.exists(path):
        refusal = _refusal(path)
        if refusal is None:
            return Place(f"unix:{path}{_RING}", None, "the machine's daemon lets this user in")
        log.warning("rankd: the machine's daemon at %s is passed over: %s", path, refusal)
    if not own:
        return Place(DEFAULT_URL, None, "RANKD_AUTOSTART is 0")
    if program("rankd") is None or not _has_ring():
        return Place(DEFAULT_URL, None, "this installation has no daemon of its own")
    if _on_several_machines():
        log.warning("rankd: this job runs on several machines (WORLD_SIZE is %s, LOCAL_WORLD_SIZE is %s), and each has a daemon "
                    "with banks of its own; RANKD_URL names one for all", os.environ["WORLD_SIZE"],
                    os.environ["LOCAL_WORLD_SIZE"])
    home = find_home()
    return Place(f"unix:{home.socket}{_RING}", home, "a daemon of this user, started when it is needed")


def _on_several_machines() -> bool:
    """Whether the job runs on several machines, by the variables of torchrun."""
    everywhere, here = os.environ.get("WORLD_SIZE"), os.environ.get("LOCAL_WORLD_SIZE")
    return everywhere is not None and here is not None and everywhere != here


def _has_ring() -> bool:
    try:
        from . import ring as _
    except ImportError:
        return False
    return True


def _refusal(path: str) -> str | None:
    """The reason why the daemon on that socket can't be used; None if it can."""
    try:
        from .ring import RingTransport

        RingTransport(f"unix:{path}?arena=1M&entries=2").call("GET", "/v2/health/ready", b"", _ANSWER_WITHIN)
    except RankdError as error:
        return error.sentence
    except ImportError as error:
        return str(error)
    return None


class FoundTransport:
    """See transport.Transport. Finds its daemon at the first request, and starts this user's again
    when it has gone."""

    def __init__(self, token: str | None = None, ssl_context: Any = None, place: Place | None = None) -> None:
        self._token, self._context, self._place = token, ssl_context, place
        self._owner, self._lock = os.getpid(), threading.Lock()
        self._held: Transport | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # A worker process uses the daemon that its parent found.
        return (FoundTransport, (self._token, self._context, self._place))

    @property
    def url(self) -> str:
        return self._place.url.partition("?")[0] if self._place else "not looked for yet"

    @property
    def regions(self) -> bool:
        return bool(getattr(self._transport(), "regions", False))

    def empty(self, shape: Any, dtype: Any = np.float32) -> np.ndarray:
        """In shared memory if the daemon is reached that way; see ring.RingTransport."""
        transport = self._transport()
        make = getattr(transport, "empty", np.empty)
        try:
            return make(shape, dtype)
        except ConnectionFailed:
            self._revive(Deadline(_ANSWER_WITHIN))
            return make(shape, dtype)

    def infer(self, request: InferRequest, timeout: float) -> InferReply:
        deadline = Deadline(timeout)
        transport = self._transport()
        try:
            return transport.infer(request, timeout)
        except ConnectionFailed:
            self._revive(deadline)
            return transport.infer(request, deadline.left())

    def call(self, method: str, path: str, body: bytes, timeout: float) -> bytes:
        deadline = Deadline(timeout)
        transport = self._transport()
        try:
            return transport.call(method, path, body, timeout)
        except ConnectionFailed:
            self._revive(deadline)
            return transport.call(method, path, body, deadline.left())

    def close(self) -> None:
        if self._held is not None:
            self._held.close()

    def _transport(self) -> Transport:
        if self._owner != os.getpid():  # another thread of the parent may have held the lock at the fork
            self._owner, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            if self._held is None:
                self._place = self._place or find()
                held = open_transport(self._place.url, self._token, self._context)
                if self._place.home is not None:
                    ensure(self._place.home)
                self._held = held
            return self._held

    def _revive(self, deadline: Deadline) -> None:
        """Within except: raises the current exception again if this is not this user's own
        daemon."""
        if self._place is None or self._place.home is None or not autostart():
            raise
        ensure(self._place.home, deadline)


def open_transport(url: str, token: str | None, ssl_context: Any) -> Transport:
    """The transport for a known URL."""
    if url.startswith("unix:"):
        try:
            from .ring import RingTransport
        except ImportError as error:
            raise RankdError(f"'{url}' needs the shared-memory ring, which this installation of rankd lacks: {error}") from error
        return RingTransport(url, token)
    from .http import HTTPTransport

    return HTTPTransport(url, token, ssl_context)
