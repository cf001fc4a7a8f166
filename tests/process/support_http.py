# SPDX-License-Identifier: Apache-2.0
"""Requests as bytes, for tests of the wire format."""
import json
import re
import socket
import subprocess
import threading

from conftest import BUILD

GOOD = {
    "inputs": [
        {"name": "scores", "shape": [1, 4], "datatype": "FP32", "data": [0.9, 0.8, 0.7, 0.6]},
        {"name": "targets", "shape": [1, 4], "datatype": "INT8", "data": [0, 1, 0, 1]},
    ],
}
INFER = "/v2/models/ap/infer"


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.json()["error"]


def read(s, verb="GET"):
    """The next answer on the socket, to that verb; None if the peer closed the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = s.recv(65536)
        except ConnectionResetError:
            return None
        if not more:
            return None
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
    while verb != "HEAD" and len(body) < int(headers.get("content-length", 0)):
        more = s.recv(1 << 20)
        if not more:
            break
        body += more
    return Answer(int(lines[0].split()[1]), headers, body)


def connect(daemon, timeout=30.0):
    s = socket.create_connection((daemon.host, daemon.port), timeout=timeout)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def routes():
    """{(verb, pattern): scope}, from the table that the daemon itself is built from."""
    page = subprocess.run([BUILD / "gen", "routes.md"], capture_output=True, text=True, check=True).stdout
    return {(verb, pattern): scope for verb, pattern, scope in re.findall(r"^\| `(\w+) (\S+)` \| (\w+) \|$", page, re.M)}


def request(verb, path, body=b"", headers=(), length=None, host="localhost"):
    if not isinstance(body, (bytes, bytearray)):
        body = json.dumps(body).encode()
    lines = [f"{verb} {path} HTTP/1.1", f"Host: {host}", *headers]
    if body or length is not None or verb in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def ask(daemon, verb, path, body=b"", headers=(), **kw):
    with connect(daemon) as s:
        s.sendall(request(verb, path, body, headers, **kw))
        return read(s, verb)


def infer(daemon, body=None, headers=(), path=INFER):
    return ask(daemon, "POST", path, GOOD if body is None else body, headers)


def slow(queries=1024):
    """A request that keeps a worker busy for some time: half of the batch is relevant to each
    query, and ranked below the other half."""
    return {"inputs": [
        {"name": "embeddings", "shape": [queries, 2], "datatype": "FP32",
         "data": [1 + i * i % 101 / 101 for i in range(2 * queries)]},
        {"name": "labels", "shape": [queries], "datatype": "INT64", "data": [i % 2 for i in range(queries)]}],
        "outputs": [{"name": "loss"}, {"name": "gradient"}]}


def at_once(count, call):
    """The results of call(i) from `count` threads that begin together."""
    results, barrier = [None] * count, threading.Barrier(count)

    def one(i):
        barrier.wait()
        results[i] = call(i)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def metric(daemon, name, **labels):
    """A sample of /metrics; 0 if there is none."""
    text = ask(daemon, "GET", "/metrics").body.decode()
    inside = ",".join(f'{k}="{v}"' for k, v in labels.items())
    wanted = f"{name}{{{inside}}} " if inside else f"{name} "
    for line in text.splitlines():
        if line.startswith(wanted):
            return float(line[len(wanted):])
    return 0.0
