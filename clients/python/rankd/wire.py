# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 on one socket, one answer at a time, with a deadline for the whole answer and complete
validation.

The server is not trusted. An answer that two readers could read differently is a ProtocolError.
Memory is allocated for received bytes, not for announced ones. Slow bytes do not extend the
deadline.
"""
from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from typing import Any

from .errors import ProtocolError

_LARGEST_HEAD = 64 * 1024  # with all provisional answers before it
_LARGEST_LINE = 8 * 1024
_READ_BYTES = 64 * 1024
_HEAD_BYTES = 4 * 1024  # at once while in a head: what is read of the body then is copied
_LONGEST_WAIT = 1e6  # what a socket takes as a timeout

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([^\x00\r\n]*))?")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00\r\n]*)")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00\r\n]*)?")
# Headers that must not occur twice, because readers could differ in which one they use.
_ONCE = ("content-length", "transfer-encoding", "inference-header-content-length")


class Deadline:
    """A moment by the monotonic clock, `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then. TimeoutError if it is past."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, _LONGEST_WAIT)


class Channel:
    """A connected socket, and bytes that were read ahead."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._ahead = b""

    @property
    def has_more(self) -> bool:
        return bool(self._ahead)

    def send(self, data: Any, deadline: Deadline) -> None:
        view = memoryview(data)
        while len(view):
            self.sock.settimeout(deadline.left())
            view = view[self.sock.send(view):]

    def line(self, most: int, deadline: Deadline) -> bytes:
        """The next line, of at most `most` bytes, without its CRLF."""
        end = self._ahead.find(b"\r\n")
        while end < 0:
            if len(self._ahead) > most + 1:  # a CR may stand at its end
                raise ProtocolError(f"the answer has a line of more than {most} bytes: {self._ahead[:40]!r}")
            self.sock.settimeout(deadline.left())
            got = self.sock.recv(_HEAD_BYTES)
            if not got:
                raise ConnectionResetError("the daemon hung up")
            self._ahead += got
            end = self._ahead.find(b"\r\n")
        line, self._ahead = self._ahead[:end], self._ahead[end + 2:]
        if len(line) > most:
            raise ProtocolError(f"the answer has a line of more than {most} bytes: {line[:40]!r}")
        return line

    def read_into(self, view: memoryview, deadline: Deadline) -> int:
        """Some bytes, at least one; 0 at the end."""
        if self._ahead:
            count = min(len(view), len(self._ahead))
            view[:count], self._ahead = self._ahead[:count], self._ahead[count:]
            return count
        self.sock.settimeout(deadline.left())
        return self.sock.recv_into(view)


@dataclass(frozen=True)
class Head:
    """Status line and headers, their names in lower case."""

    status: int
    reason: str
    headers: dict[str, str]
    closes: bool
    """Nothing follows this answer on its connection."""


def whole(text: str, what: str) -> int:
    """A number of bytes in a header. ProtocolError for anything but a limited number of digits."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ProtocolError(f"the answer's {what} is {text[:40]!r}; it must be a whole number")
    return int(text)


def read_head(channel: Channel, deadline: Deadline) -> Head:
    """The head of the next answer, provisional ones (1xx) skipped."""
    left = _LARGEST_HEAD
    while True:
        line = channel.line(_LARGEST_LINE, deadline)
        found = _STATUS.fullmatch(line)
        if not found:
            raise ProtocolError(f"the answer is not HTTP/1.1: {line[:80]!r}")
        headers, left = _read_headers(channel, left - len(line) - 2, deadline)
        if found[2] >= b"200":
            break
    words = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    closes = "close" in words or (found[1] == b"0" and "keep-alive" not in words)
    return Head(int(found[2]), (found[3] or b"").decode("latin-1"), headers, closes)


def _read_headers(channel: Channel, left: int, deadline: Deadline) -> tuple[dict[str, str], int]:
    """The headers up to the empty line, and the number of bytes that are left for the head."""
    headers: dict[str, str] = {}
    while True:
        if left <= 0:
            raise ProtocolError(f"the answer's head has more than {_LARGEST_HEAD} bytes")
        line = channel.line(_LARGEST_LINE, deadline)
        left -= len(line) + 2
        if not line:
            return headers, left
        found = _HEADER.fullmatch(line)
        if not found:
            raise ProtocolError(f"the answer has an invalid header: {line[:80]!r}")
        name = found[1].decode().lower()
        if name in _ONCE and name in headers:
            raise ProtocolError(f"the answer has two headers {name}")
        headers[name] = found[2].decode("latin-1").rstrip(" \t")


class Body:
    """The body after a head, read piece by piece."""

    def __init__(self, channel: Channel, head: Head, deadline: Deadline) -> None:
        self._channel, self._deadline = channel, deadline
        self._chunked = self._to_end = False
        self._left = 0  # of the length, or of the chunk
        self._first, self._over = True, False
        length, coding = head.headers.get("content-length"), head.headers.get("transfer-encoding")
        if coding is not None and (length is not None or coding.lower() != "chunked"):
            raise ProtocolError(f"the answer has a transfer coding of {coding[:40]!r}" + (
                " and a length" if length is not None else "; it may be chunked"))
        if coding is not None:
            self._chunked = True
        elif length is not None:
            self._left = whole(length, "Content-Length")
            self._over = self._left == 0
        elif head.status in (204, 304):
            self._over = True
        else:
            self._to_end = True

    @property
    def is_over(self) -> bool:
        """True if the body is read to its end and nothing follows: the connection can be reused."""
        return self._over and not self._to_end and not self._channel.has_more

    def fill(self, view: memoryview) -> None:
        """Exactly as many bytes as fit into `view`."""
        while len(view):
            got = self._read(view)
            if not got:
                raise ProtocolError(f"the answer ends {len(view)} bytes before its content does")
            view = view[got:]

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        taken = self.upto(count)
        if len(taken) != count:
            raise ProtocolError(f"the answer ends {count - len(taken)} bytes before its content does")
        return taken

    def upto(self, count: int) -> bytes:
        """At most `count` bytes; fewer if the body ends before."""
        taken, piece = bytearray(), memoryview(bytearray(min(count, _READ_BYTES)))
        while len(taken) < count:
            got = self._read(piece[:count - len(taken)])
            if not got:
                break
            taken += piece[:got]
        return bytes(taken)

    def rest(self, most: int) -> bytes:
        """The rest of the body. ProtocolError if that is more than `most` bytes."""
        taken = self.upto(most + 1)
        if len(taken) > most:
            raise ProtocolError(f"the answer has more than the {most} bytes that the request may need")
        return taken

    def _read(self, view: memoryview) -> int:
        """Some bytes, at least one; 0 at the end."""
        if self._chunked and self._left == 0 and not self._over:
            self._next_chunk()
        if self._over:
            return 0
        got = self._channel.read_into(view if self._to_end else view[:self._left], self._deadline)
        if not got and not self._to_end:
            raise ConnectionResetError("the daemon hung up")
        self._over = not got
        if not self._to_end:
            self._left -= got
            self._over = self._left == 0 and not self._chunked
        return got

    def _next_chunk(self) -> None:
        if not self._first and self._channel.line(0, self._deadline):
            raise ProtocolError("the answer has a chunk that is longer than its size")
        self._first = False
        line = self._channel.line(_LARGEST_LINE, self._deadline)
        found = _CHUNK.fullmatch(line)
        if not found:
            raise ProtocolError(f"the answer has a chunk of size {line[:40]!r}")
        self._left = int(found[1], 16)
        if self._left == 0:
            _read_headers(self._channel, _LARGEST_HEAD, self._deadline)  # trailers are not used
            self._over = True
