"""When a failed attempt is repeated, and for how long."""
from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from .errors import ConnectionFailed, ConnectionLost, Overloaded, RankdError

T = TypeVar("T")

_FIRST_PAUSE = 0.05  # seconds; doubled each time
_LONGEST_PAUSE = 2.0


def with_retries(attempt: Callable[[], T], *, retry_for: float, repeatable: bool) -> T:
    """Calls `attempt` until it answers, for at most `retry_for` seconds of trying again.

    Repeated are: a connection that did not come about and 503 (the daemon did nothing), and, if the request is
    `repeatable` (doing it twice is as doing it once), a connection that broke before the answer. Everything else is an
    answer, or a timeout of the caller's choice, and is raised at once. Pauses grow and are drawn at random, so that the
    trainers of a job do not come back all at the same moment.
    """
    give_up = time.monotonic() + retry_for
    pause = _FIRST_PAUSE
    while True:
        try:
            return attempt()
        except RankdError as error:
            wait = _pause_after(error, pause, repeatable)
            if wait is None or time.monotonic() + wait > give_up:
                raise
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
