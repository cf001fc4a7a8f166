# SPDX-License-Identifier: Apache-2.0
"""A small server that only breaks the transport, and a port for a daemon that is restarted on the
same address."""
import os
import socket
import threading
from pathlib import Path

from plain_library import library as library  # for the tests of this folder

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Breaking:
    """Listens on a port and treats each connection as its script says, in turn: a list of functions
    of a socket. The last one is repeated. Counts connections. Stands in for a broken network or a
    dying daemon, never for results."""

    def __init__(self, *script):
        self.script, self.connections, self.requests = script, 0, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            step = self.script[min(self.connections, len(self.script) - 1)]
            self.connections += 1
            threading.Thread(target=self._one, args=(step, connection), daemon=True).start()

    def _one(self, step, connection):
        with connection:
            connection.settimeout(20)
            try:
                step(self, connection)
            except OSError:
                pass


def read_request(server, connection):
    """Takes one request off the connection and keeps its bytes. Returns False at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return False
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(rest) < length:
        rest += connection.recv(65536)
    server.requests.append(head + b"\r\n\r\n" + rest)
    return True


def answering(*replies):
    """Sends the given bytes after each request in turn, then hangs up."""

    def step(server, connection):
        for reply in replies:
            if not read_request(server, connection):
                return
            connection.sendall(reply)

    return step


def resetting(server, connection):
    """Takes the request and resets the connection."""
    read_request(server, connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def silent(server, connection):
    """Takes the request and does not answer."""
    read_request(server, connection)
    connection.recv(1)


def http(status, body=b"", **headers):
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
