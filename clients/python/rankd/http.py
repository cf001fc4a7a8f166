# SPDX-License-Identifier: Apache-2.0
"""The HTTP transport: the Open Inference Protocol with binary tensors, one persistent connection
per thread."""
from __future__ import annotations

import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from .answers import one_line
from .errors import (
    ConnectionFailed,
    ConnectionLost,
    InvalidRequest,
    RankdError,
    RequestTimeout,
    Untrusted,
    from_status,
)
from .reply import HEADER_LENGTH, read_reply
from .sockets import close_socket, close_when_dropped
from .tensors import OnDevice, Tensor
from .transport import InferReply, InferRequest
from .wire import Body, Channel, Deadline, Head, read_head

# Up to here JSON and tensors are joined and leave in one segment; above, the copy would cost more
# than the call.
_JOIN_BYTES = 64 * 1024
_LARGEST_ERROR = 64 * 1024
_LARGEST_SENTENCE = 2000
_LARGEST_ANSWER = 256 << 20  # of a control request

T = TypeVar("T")


@dataclass(frozen=True)
class _Held:
    """A thread's connection, the process that opened it, and the epoch of its transport."""

    channel: Channel
    owner: int
    epoch: int


class HTTPTransport:
    """See transport.Transport. `url` is http://host:port or https://host:port, a path before /v2 is
    kept."""

    regions = True  # requests may name regions of shared memory

    def __init__(self, url: str, token: str | None = None, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        host = _ascii_host(parts.hostname)
        if parts.scheme not in ("http", "https") or not host or not _visible(parts.path):
            raise ValueError(f"url is '{url}'; it must be http://HOST[:PORT], https://HOST[:PORT] or unix:PATH")
        if token is not None and not re.fullmatch("[ -~]*", token):
            raise ValueError("token has characters that are not printable ASCII")
        self._url, self._token, self._context = url, token, context
        self._secure = parts.scheme == "https"
        self._host, self._port = host, parts.port or (443 if self._secure else 80)
        self._host_header = _host_header(host, parts.port, 443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._local = threading.local()
        self._epoch = 0

    def __reduce__(self) -> tuple[object, ...]:
        # Connections are not copied: a copy, here or in a worker process, opens its own.
        return (HTTPTransport, (self._url, self._token, self._context))

    @property
    def url(self) -> str:
        return self._url

    def infer(self, request: InferRequest, timeout: float) -> InferReply:
        header = _encode(request, timeout)
        headers = {HEADER_LENGTH: str(len(header)), "Content-Type": "application/octet-stream"}
        parts = [header, *(tensor.buffer for tensor in request.inputs if isinstance(tensor, Tensor))]
        return self._exchange("POST", f"/v2/models/{request.model}/infer", parts, headers, timeout,
                              lambda head, body: read_reply(head, body, request))

    def call(self, method: str, path: str, body: bytes, timeout: float) -> bytes:
        headers = {"Content-Type": "application/json"} if body else {}
        return self._exchange(method, path, [body], headers, timeout, lambda _, body: body.rest(_LARGEST_ANSWER))

    def close(self) -> None:
        self._drop()
        self._epoch += 1  # those of other threads are closed at their next request

    def _exchange(self, method: str, path: str, parts: list[Any], headers: dict[str, str], timeout: float,
                  read: Callable[[Head, Body], T]) -> T:
        if not re.fullmatch("[A-Z]+", method) or not path.startswith("/") or not _visible(path):
            raise InvalidRequest(f"'{method} {path}' is not a method and a path without blanks")
        deadline = Deadline(timeout)
        channel, reused = self._channel(deadline)
        whole = False
        try:
            try:
                self._send(channel, method, path, parts, headers, deadline)
                whole = True
            except (BrokenPipeError, ConnectionResetError):
                pass  # a daemon that refuses a body answers and closes before it has read it: the answer can be read
            return self._receive(channel, deadline, read)
        except RankdError:  # some of them are TimeoutErrors or OSErrors too
            raise
        except TimeoutError as error:
            self._drop()
            raise RequestTimeout(f"no whole answer from {self._url}{path} within {timeout:g} s") from error
        except OSError as error:
            self._drop()
            was = "the kept-alive connection" if reused else "the connection"
            text = f"{was} to {self._url} broke before the answer to {method} {path} was complete: {error!r}"
            broke = ConnectionLost(text)
            broke.whole = whole
            raise broke from error
        except BaseException:  # KeyboardInterrupt during a reply: its rest would be taken for the next answer
            self._drop()
            raise

    def _send(self, channel: Channel, method: str, path: str, parts: list[Any], headers: dict[str, str],
              deadline: Deadline) -> None:
        length = sum(len(part) for part in parts)
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"Host: {self._host_header}"]
        if self._token:
            lines.append(f"Authorization: Bearer {self._token}")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if length or method in ("POST", "PUT"):
            lines.append(f"Content-Length: {length}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
        if length <= _JOIN_BYTES:
            channel.send(b"".join([head, *parts]), deadline)
            return
        channel.send(head + bytes(parts[0]), deadline)
        for part in parts[1:]:
            channel.send(part, deadline)

    def _receive(self, channel: Channel, deadline: Deadline, read: Callable[[Head, Body], T]) -> T:
        reusable = False
        try:
            head = read_head(channel, deadline)
            body = Body(channel, head, deadline)
            if head.status != 200:
                error = _error(head, body)
                reusable = body.is_over and not head.closes
                raise error
            answer = read(head, body)
            reusable = body.is_over and not head.closes
            return answer
        finally:
            # After a reply that was not read completely the connection can't be used again.
            if not reusable:
                self._drop()

    def _channel(self, deadline: Deadline) -> tuple[Channel, bool]:
        """This thread's connection, opened if necessary, and whether it was used before."""
        held: _Held | None = getattr(self._local, "held", None)
        if held is not None:
            if held.owner == os.getpid() and held.epoch == self._epoch and not _hung_up(held.channel):
                return held.channel, True
            self._drop()
        try:
            sock = self._connect(deadline)
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(f"the certificate of {self._url} was refused: {error.verify_message}") from error
        except TimeoutError as error:
            raise RequestTimeout(f"no connection to {self._url} within {deadline.seconds:g} s") from error
        except (OSError, UnicodeError) as error:  # an impossible name is a UnicodeError
            raise ConnectionFailed(f"no connection to {self._url}: {getattr(error, 'strerror', None) or error}") from error
        channel = Channel(sock)
        close_when_dropped(channel, sock)
        self._local.held = _Held(channel, os.getpid(), self._epoch)
        return channel, False

    def _connect(self, deadline: Deadline) -> socket.socket:
        """Connects to the first address of the host that accepts. (The lookup of the name has only
        the limit of the system.)"""
        failed: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM):
            try:
                return self._connect_to(socket.socket(family, kind, protocol), address, deadline)
            except ssl.SSLError:
                raise
            except OSError as error:
                failed = error
        raise failed or OSError("the host has no address")

    def _connect_to(self, sock: socket.socket, address: Any, deadline: Deadline) -> socket.socket:
        try:
            sock.settimeout(deadline.left())
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not self._secure:
                return sock
            context = self._context or _default_context()
            sock.settimeout(deadline.left())
            return context.wrap_socket(sock, server_hostname=self._host)
        except BaseException:
            sock.close()
            raise

    def _drop(self) -> None:
        held: _Held | None = getattr(self._local, "held", None)
        self._local.held = None
        if held is None:
            return
        close_socket(held.channel.sock, held.owner)


def _visible(text: str) -> bool:
    """Whether the text has no blanks, control characters or other characters that would end a word
    or a line of the request's head."""
    return re.fullmatch("[!-~]*", text) is not None


def _ascii_host(host: str | None) -> str:
    """The form of the name in a request; empty if it is no host name."""
    try:
        name = (host or "").encode("idna").decode() if not (host or "").isascii() else host or ""
    except UnicodeError:
        return ""
    return name if _visible(name) else ""


def _host_header(host: str, port: int | None, default: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port in (None, default) else f"{name}:{port}"


def _default_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _hung_up(channel: Channel) -> bool:
    """Whether the daemon has closed the idle connection (it limits idle time, and it may have been
    restarted)."""
    sock = channel.sock
    try:
        sock.settimeout(0)
        if isinstance(sock, ssl.SSLSocket):
            sock.recv(1)
        else:
            sock.recv(1, socket.MSG_PEEK)
        return True  # the end, or unexpected bytes
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def _encode(request: InferRequest, timeout: float) -> bytes:
    inputs = [{"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype,
               "parameters": _place(tensor) if isinstance(tensor, OnDevice) else {"binary_data_size": tensor.data.nbytes}}
              for tensor in request.inputs]
    # The daemon need not compute for a client that has stopped waiting: it takes the deadline in
    # microseconds.
    document: dict[str, Any] = {"inputs": inputs, "parameters": {**request.parameters, "timeout": int(min(timeout, 1e9) * 1e6)}}
    document["outputs"] = [{"name": name, "parameters": _place(request.places[name]) if name in request.places
                            else {"binary_data": True}} for name in request.outputs]
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def _place(tensor: OnDevice) -> dict[str, Any]:
    return {"shared_memory_region": tensor.region, "shared_memory_offset": tensor.offset,
            "shared_memory_byte_size": tensor.size}


def _error(head: Head, body: Body) -> RankdError:
    text = body.upto(_LARGEST_ERROR)
    body.upto(1)  # detects the end
    try:
        said = json.loads(text.decode())["error"]
        sentence = one_line(said, _LARGEST_SENTENCE) if isinstance(said, str) else ""
    except (ValueError, KeyError, TypeError, RecursionError):
        sentence = ""
    sentence = sentence or one_line(text.decode(errors="replace"), 200) or one_line(head.reason, 200) or "no body"
    return from_status(head.status, sentence, _seconds(head.headers.get("retry-after")))


def _seconds(value: str | None) -> float | None:
    """Seconds of Retry-After. Its other form, a date, is never sent by rankd."""
    return float(value) if value and re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) else None
