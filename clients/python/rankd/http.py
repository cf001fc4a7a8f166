"""The way over HTTP: the Open Inference Protocol with binary tensors, one kept-alive connection per thread."""
from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from .errors import ConnectionFailed, ConnectionLost, ProtocolError, RankdError, RequestTimeout, Untrusted, from_status
from .sockets import close_socket, close_when_dropped
from .tensors import OnCard, Tensor, dtype_of
from .transport import InferReply, InferRequest

_HEADER_LENGTH = "Inference-Header-Content-Length"
# Up to here JSON and tensors are joined and leave in one segment; above, the copy would cost more than the call.
_JOIN_BYTES = 64 * 1024
_LARGEST_ERROR = 64 * 1024

T = TypeVar("T")


class HTTPTransport:
    """See transport.Transport. `url` is http://host:port or https://host:port, a path before /v2 is kept."""

    regions = True  # requests may name regions of shared memory

    def __init__(self, url: str, token: str | None = None, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url is '{url}'; it must be http://HOST[:PORT], https://HOST[:PORT] or unix:PATH")
        self._url, self._token, self._context = url, token, context
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._local = threading.local()
        self._epoch = 0

    def __reduce__(self) -> tuple[object, ...]:
        # Connections stay behind: a copy, here or in a worker process, opens its own.
        return (HTTPTransport, (self._url, self._token, self._context))

    @property
    def url(self) -> str:
        return self._url

    def infer(self, request: InferRequest, timeout: float) -> InferReply:
        header = _encode(request, timeout)
        headers = {_HEADER_LENGTH: str(len(header)), "Content-Type": "application/octet-stream"}
        parts = [header, *(tensor.buffer for tensor in request.inputs if isinstance(tensor, Tensor))]
        return self._exchange("POST", f"/v2/models/{request.model}/infer", parts, headers, timeout, _read_infer)

    def call(self, method: str, path: str, body: bytes, timeout: float) -> bytes:
        headers = {"Content-Type": "application/json"} if body else {}
        return self._exchange(method, path, [body], headers, timeout, lambda response: response.read())

    def close(self) -> None:
        self._drop()
        self._epoch += 1  # those of other threads go when they next look

    def _exchange(self, method: str, path: str, parts: list[Any], headers: dict[str, str], timeout: float,
                  read: Callable[[http.client.HTTPResponse], T]) -> T:
        connection, reused = self._connection(timeout)
        try:
            connection.sock.settimeout(timeout)
            try:
                self._send(connection, method, path, parts, headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # a daemon that refuses a body answers and hangs up before it has read it: the answer is there
            return self._receive(connection, read)
        except RankdError:  # some of them are TimeoutErrors or OSErrors too
            raise
        except TimeoutError as error:
            self._drop()
            raise RequestTimeout(f"no answer from {self._url}{path} within {timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            self._drop()
            was = "the kept-alive connection" if reused else "the connection"
            text = f"{was} to {self._url} broke before the answer to {method} {path} was complete: {error!r}"
            raise ConnectionLost(text) from error
        except BaseException:  # KeyboardInterrupt in mid-reply: the rest would be taken for the next answer
            self._drop()
            raise

    def _send(self, connection: http.client.HTTPConnection, method: str, path: str, parts: list[Any],
              headers: dict[str, str]) -> None:
        length = sum(len(part) for part in parts)
        connection.putrequest(method, self._prefix + path, skip_accept_encoding=True)
        if self._token:
            connection.putheader("Authorization", f"Bearer {self._token}")
        for name, value in headers.items():
            connection.putheader(name, value)
        if length or method in ("POST", "PUT"):
            connection.putheader("Content-Length", str(length))
        if length <= _JOIN_BYTES:
            connection.endheaders(b"".join(parts))
            return
        connection.endheaders(bytes(parts[0]))
        for part in parts[1:]:
            connection.send(part)

    def _receive(self, connection: http.client.HTTPConnection, read: Callable[[http.client.HTTPResponse], T]) -> T:
        response = connection.getresponse()
        try:
            if response.status != 200:
                raise _error(response)
            return read(response)
        finally:
            # What was not read wholly can't be followed by another request on this connection.
            if response.will_close or not response.isclosed():
                self._drop()

    def _connection(self, timeout: float) -> tuple[http.client.HTTPConnection, bool]:
        """This thread's connection, opened if need be, and whether it was in use before."""
        held = getattr(self._local, "held", None)
        if held is not None:
            kept, owner, epoch = held
            if owner == os.getpid() and epoch == self._epoch and not _hung_up(kept):
                return kept, True
            self._drop()
        connection: http.client.HTTPConnection
        if self._secure:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=timeout, context=self._context)
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout)
        try:
            connection.connect()  # sets TCP_NODELAY itself
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(f"the certificate of {self._url} was refused: {error.verify_message}") from error
        except TimeoutError as error:
            raise RequestTimeout(f"no connection to {self._url} within {timeout:g} s") from error
        except OSError as error:
            raise ConnectionFailed(f"no connection to {self._url}: {error.strerror or error}") from error
        close_when_dropped(connection)
        self._local.held = (connection, os.getpid(), self._epoch)
        return connection, False

    def _drop(self) -> None:
        held = getattr(self._local, "held", None)
        self._local.held = None
        if held is None:
            return
        connection, owner, _ = held
        close_socket(connection.sock, owner)
        connection.close()


def _hung_up(connection: http.client.HTTPConnection) -> bool:
    """Whether the daemon closed the idle connection meanwhile (it has a limit on idleness; it may have been restarted)."""
    if connection.sock is None:
        return True
    try:
        connection.sock.settimeout(0)
        if isinstance(connection.sock, ssl.SSLSocket):
            connection.sock.recv(1)
        else:
            connection.sock.recv(1, socket.MSG_PEEK)
        return True  # the end, or bytes that nobody asked for
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def _encode(request: InferRequest, timeout: float) -> bytes:
    inputs = [{"name": tensor.name, "shape": list(tensor.shape), "datatype": tensor.datatype,
               "parameters": _place(tensor) if isinstance(tensor, OnCard) else {"binary_data_size": tensor.data.nbytes}}
              for tensor in request.inputs]
    # The daemon need not compute for a client that has stopped waiting: it takes the deadline in microseconds.
    document: dict[str, Any] = {"inputs": inputs, "parameters": {**request.parameters, "timeout": int(min(timeout, 1e9) * 1e6)}}
    document["outputs"] = [{"name": name, "parameters": _place(request.places[name]) if name in request.places
                            else {"binary_data": True}} for name in request.outputs]
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def _place(tensor: OnCard) -> dict[str, Any]:
    return {"shared_memory_region": tensor.region, "shared_memory_offset": tensor.offset,
            "shared_memory_byte_size": tensor.size}


def _read_infer(response: http.client.HTTPResponse) -> InferReply:
    declared = response.getheader(_HEADER_LENGTH)
    text = _read_exactly(response, int(declared)) if declared else response.read()
    try:
        document = json.loads(text)
        outputs = {}
        for entry in document["outputs"]:
            if "shared_memory_byte_size" in entry.get("parameters", {}):  # it lies there
                continue
            array = np.empty(entry["shape"], dtype_of(entry["datatype"]))
            if "data" in entry:
                array[...] = np.array(entry["data"], dtype=array.dtype).reshape(array.shape)
            else:
                if entry["parameters"]["binary_data_size"] != array.nbytes:
                    raise ValueError(f"{entry['name']} has the wrong number of bytes")
                _fill(response, array)
            outputs[entry["name"]] = array
        rest = response.read()
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"the answer is not an inference reply: {error!r}") from error
    if rest:
        raise ProtocolError(f"the answer has {len(rest)} bytes more than its tensors need")
    return InferReply(outputs, document.get("parameters", {}))


def _fill(response: http.client.HTTPResponse, array: NDArray[Any]) -> None:
    if array.nbytes == 0:
        return
    view = array.reshape(-1).view(np.uint8).data
    while len(view):
        got = response.readinto(view)
        if not got:
            raise http.client.IncompleteRead(b"", len(view))
        view = view[got:]


def _read_exactly(response: http.client.HTTPResponse, count: int) -> bytes:
    text = response.read(count)
    if len(text) != count:
        raise http.client.IncompleteRead(text, count - len(text))
    return text


def _error(response: http.client.HTTPResponse) -> RankdError:
    text = response.read(_LARGEST_ERROR)
    try:
        sentence = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        sentence = text[:200].decode(errors="replace").strip() or response.reason or "no body"
    return from_status(response.status, sentence, _seconds(response.getheader("Retry-After")))


def _seconds(value: str | None) -> float | None:
    try:
        return max(float(value), 0.0) if value else None
    except ValueError:
        return None
