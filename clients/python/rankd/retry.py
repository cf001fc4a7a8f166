# SPDX-License-Identifier: Apache-2.0
"""Which failed attempts are repeated, and for how long.

A request that crashes the daemon must be distinguished from one that failed with the network:
repeated, it would crash each restarted daemon, for every trainer. So after a connection that broke
with the complete request sent, the client asks for the uptime of the daemon: if it started after
the send, the earlier daemon died under the request.
"""
from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import TypeVar

from .errors import ConnectionFailed, ConnectionLost, DaemonDied, Overloaded, RankdError
from .transport import Transport

T = TypeVar("T")

_FIRST_PAUSE = 0.05  # seconds; doubled each time
_LONGEST_PAUSE = 2.0
_DEATHS = 2  # one may have been a restart at the same time by chance
_ASK_FOR = 5.0  # seconds to wait for an answer about the daemon


def with_retries(attempt: Callable[[], T], *, transport: Transport, what: str, retry_for: float, repeatable: bool) -> T:
    """Calls `attempt`, which sends a request (`what`, in words) by `transport`, until there is an
    answer, with retries for at most `retry_for` seconds.

    Repeated are failed connections and 503 (the daemon did nothing), and, if the request is
    `repeatable` (idempotent), connections that broke before the answer; after the second death of
    the daemon under the request it is DaemonDied instead. Everything else is an answer or a timeout
    of the caller, and is raised at once. Pauses grow and are random, so that the trainers of a job
    do not retry at the same moment.
    """
    give_up = time.monotonic() + retry_for
    pause, deaths = _FIRST_PAUSE, 0
    lost: float | None = None  # start of the attempt whose connection broke, until the reason is known
    while True:
        try:
            if lost is not None:
                deaths += _born(transport) > lost
                lost = None
            if deaths < _DEATHS:
                begun = time.monotonic()
                return attempt()
        except RankdError as error:
            wait = _pause_after(error, pause, repeatable)
            if wait is None or time.monotonic() + wait > give_up:
                raise
            if isinstance(error, ConnectionLost) and error.whole:
                lost = begun
        else:
            raise DaemonDied(f"the daemon at {transport.url} died {_DEATHS} times while it had the request {what}, which is "
                             "therefore not sent again")
        time.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _pause_after(error: RankdError, pause: float, repeatable: bool) -> float | None:
    """Seconds to wait before the next attempt; None if there must not be one."""
    jittered = pause * random.uniform(0.5, 1.0)
    if isinstance(error, Overloaded):
        return max(jittered, error.retry_after or 0.0)
    if isinstance(error, ConnectionFailed) or (isinstance(error, ConnectionLost) and repeatable):
        return jittered
    return None


def _born(transport: Transport) -> float:
    """The start of the present daemon on this process's monotonic clock, rather too early than too
    late; -inf if unknown. Raises ConnectionFailed or Overloaded if there is no daemon yet."""
    try:
        # The first answer may have waited for a connection; the age in the second one is exact.
        for _ in range(2):
            asked = time.monotonic()
            up = json.loads(transport.call("GET", "/v2", b"", _ASK_FOR))["uptime_ms"]
        return asked - (up + 1) / 1000
    except (ConnectionFailed, Overloaded):
        raise
    except (RankdError, ValueError, TypeError, KeyError):
        return float("-inf")
