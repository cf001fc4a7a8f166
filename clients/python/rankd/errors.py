# SPDX-License-Identifier: Apache-2.0
"""Exceptions: one class per status of the daemon, and more for the connection to it.

Each has the sentence of the daemon (`sentence`: the field, its value and the allowed values), the
status (`status`; None without an answer) and a remedy (`hint`). `str(error)` has sentence and hint.
"""
from __future__ import annotations

from typing import ClassVar


class RankdError(Exception):
    """Base of all exceptions of this package."""

    status: ClassVar[int | None] = None
    hint: ClassVar[str] = ""

    def __init__(self, sentence: str, *, code: int | None = None, retry_after: float | None = None) -> None:
        self.sentence = sentence
        self.code = self.status if code is None else code
        self.retry_after = retry_after
        super().__init__(f"{sentence} ({self.hint})" if self.hint else sentence)

    def __reduce__(self) -> tuple[object, ...]:
        # The default would restore the joined text as the sentence when an error is pickled in a
        # worker process.
        return (_rebuild, (type(self), self.sentence, self.code, self.retry_after))


def _rebuild(kind: type[RankdError], sentence: str, code: int | None, retry_after: float | None) -> RankdError:
    return kind(sentence, code=code, retry_after=retry_after)


class InvalidRequest(RankdError, ValueError):
    """400: an argument is wrong, or the thing to create exists already."""

    status = 400


class Unauthorized(RankdError):
    status = 401
    hint = "give the daemon's token: connect(url, token=…) or RANKD_TOKEN"


class Forbidden(RankdError):
    status = 403
    hint = "use a token that has the scope, or a host name that the daemon accepts"


class NotFound(RankdError, LookupError):
    status = 404
    hint = "client.models() and client.banks.list() tell what there is; client.banks.create(name, …) makes a bank"


class WrongVerb(RankdError):
    status = 405
    hint = "client and daemon disagree about the interface: compare client.metadata()['version'] with rankd.__version__"


class Conflict(RankdError):
    """409: a bank of another configuration, an older generation, or another batch under the same
    batch_id."""

    status = 409
    hint = "client.banks.get(name) shows the bank as it is now; another process may have made, restored or cleared it"


class TooLarge(RankdError):
    status = 413
    hint = "send smaller batches or raise the daemon's limit on bodies"


class InternalError(RankdError):
    status = 500
    hint = "a fault of the daemon's own: please report it with its log line"


class Unsupported(RankdError):
    status = 501
    hint = "the daemon was built or started without it"


class Overloaded(RankdError):
    """503: no room now, or shutting down. `retry_after` is the delay that the daemon proposes, in
    seconds."""

    status = 503
    hint = "the daemon asked for a pause and retry_for passed: send less at once, give it workers, or raise retry_for"


class DeadlineExceeded(RankdError, TimeoutError):
    status = 504
    hint = "the daemon gave up at its request deadline: send smaller batches or raise the daemon's deadline"


class NoSpace(RankdError):
    """507: the loss could not be stored in the bank; nothing was appended."""

    status = 507
    hint = "make room on the daemon's disk, or create the bank with on_full='memory'"


class ConnectionFailed(RankdError, ConnectionError):
    """The connection failed; the request was not sent."""

    hint = "is the daemon running there? `curl URL/v2/health/live` tells; a restart is waited for up to retry_for seconds"


class CannotStart(RankdError):
    """No daemon of this user's own could be started, or the one that runs is not of this
    version."""

    hint = "`python -m rankd doctor` looks at this machine; RANKD_URL names a daemon that runs elsewhere"


class Untrusted(RankdError):
    """This machine does not trust the certificate of the daemon; nothing was sent."""

    hint = "for a certificate of your own: connect(url, ssl_context=ssl.create_default_context(cafile=…))"


class ConnectionLost(RankdError, ConnectionError):
    """The connection broke before the answer was complete; the request may have been executed.
    `whole`: the request was sent completely; an incomplete one can't have ended the daemon."""

    whole: bool = True
    hint = ("the daemon may have been restarted, see its log; a request that is safe to repeat was repeated for up to "
            "retry_for seconds")


class DaemonDied(ConnectionLost):
    """The daemon died twice under this request, which may be the reason: the request is not sent a
    third time."""

    hint = "leave this batch out and report it together with the daemon's log; other requests are not concerned"


class RequestTimeout(RankdError, TimeoutError):
    """No answer within the timeout of the client."""

    hint = "raise timeout=, or look whether the daemon is overloaded: client.stats()"


class ProtocolError(RankdError):
    """The answer does not come from rankd, or is malformed."""

    hint = "is this address really a rankd, or is a proxy between?"


_BY_STATUS: dict[int, type[RankdError]] = {
    kind.status: kind
    for kind in (InvalidRequest, Unauthorized, Forbidden, NotFound, WrongVerb, Conflict, TooLarge, InternalError,
                 Unsupported, Overloaded, DeadlineExceeded, NoSpace)
    if kind.status is not None
}


_BAD_GATEWAY = 502


def from_status(status: int, sentence: str, retry_after: float | None = None) -> RankdError:
    """The exception for an answer that is not 200. A 502 is that of a proxy whose daemon went away
    under the request."""
    if status == _BAD_GATEWAY:
        return ConnectionLost(f"a proxy lost the daemon before it had the answer: {sentence}", code=status)
    kind = _BY_STATUS.get(status)
    if kind is None:
        return ProtocolError(f"the answer has status {status}, which rankd never gives: {sentence}", code=status)
    return kind(sentence, retry_after=retry_after)
