#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP beside the same call made in process: `ap`, one kept-alive connection to a daemon of its
own, in one run.

The client sends prepared bytes and reads by Content-Length, so that the daemon is measured and not
a client library. First 128 x 128 with binary tensors and as JSON, from a client in C. Then, from a
bare socket in Python, bodies from 1 KiB to 16 MiB, sent in one write with Nagle's algorithm off,
and with head and body in two writes and Nagle on, which is where a server that delays its
acknowledgements costs 40 ms. Last, requests per second of 32 x 128 scores over 1 to 128
connections, beside libmicrohttpd alone, which drops the same bodies and answers as many bytes, and
beside libmicrohttpd with the same computation on its thread: no daemon on this library and this
engine answers more from one thread.
"""
import argparse
import json
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

COLUMNS, RELEVANT = 204, 8  # 204 scores and targets are 1,020 bytes
STALL_MS = 40


class Connection:
    def __init__(self, address, nodelay):
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
        self.buffer = bytearray(64 << 20)

    def call(self, parts):
        """Sends the parts, each in a write of its own; the reply's length in bytes. Raises on any
        status but 200."""
        for part in parts:
            self.socket.sendall(part)
        view, got, end = memoryview(self.buffer), 0, -1
        while end < 0:
            got += self._read(view[got:])
            end = self.buffer.find(b"\r\n\r\n", 0, got)
        head = bytes(self.buffer[:end]).lower()
        if b" 200 " not in head[:16]:
            raise SystemExit(f"the daemon answered {bytes(self.buffer[:got])[:500]!r}")
        length = int(head.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
        while got < end + 4 + length:
            got += self._read(view[got:])
        return length

    def _read(self, into):
        got = self.socket.recv_into(into)
        if got == 0:
            raise SystemExit("the daemon closed the connection")
        return got


def draw(lists, columns, relevant):
    scores = np.random.default_rng(1).random((lists, columns), dtype=np.float32)
    targets = np.zeros((lists, columns), np.int8)
    targets[:, :: max(1, columns // relevant)] = 1
    return scores, targets


def tensor(name, datatype, array, **rest):
    return {"name": name, "datatype": datatype, "shape": list(array.shape), **rest}


def request(scores, targets, binary, wanted=("loss", "gradient"), answer=None):
    """Head and body of one infer request; `answer`: whether the outputs are binary; None: as the
    inputs."""
    if binary:
        described = [tensor("scores", "FP32", scores, parameters={"binary_data_size": scores.nbytes}),
                     tensor("targets", "INT8", targets, parameters={"binary_data_size": targets.nbytes})]
    else:
        described = [tensor("scores", "FP32", scores, data=scores.ravel().tolist()),
                     tensor("targets", "INT8", targets, data=targets.ravel().tolist())]
    outputs = [{"name": name, "parameters": {"binary_data": binary if answer is None else answer}} for name in wanted]
    body = json.dumps({"inputs": described, "outputs": outputs}).encode()
    extra = ""
    if binary:
        extra = f"Inference-Header-Content-Length: {len(body)}\r\n"
        body += scores.tobytes() + targets.tobytes()
    head = f"POST /v2/models/ap/infer HTTP/1.1\r\nHost: localhost\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode(), body


def time_calls(connection, parts, runs):
    """Milliseconds of each call after the first tenth."""
    ms = []
    for _ in range(runs + runs // 10 + 1):
        begun = time.perf_counter()
        connection.call(parts)
        ms.append((time.perf_counter() - begun) * 1e3)
    return sorted(ms[-runs:])


def time_in_process(program, scores, targets, runs):
    with tempfile.TemporaryDirectory() as folder:
        scores.tofile(f"{folder}/scores")
        targets.tofile(f"{folder}/targets")
        lists, columns = scores.shape
        done = subprocess.run([program, "ap", "FP32", str(lists), str(columns), "1", str(runs), f"{folder}/scores",
                               f"{folder}/targets"], check=True, capture_output=True, text=True)
    return sorted(json.loads(done.stdout)["ms"])


def quantile(ms, share):
    return ms[min(len(ms) - 1, int(len(ms) * share))]


def figures(name, ms, base):
    middle = statistics.median(base)
    return {"name": name, "p50_ms": statistics.median(ms), "p99_ms": quantile(ms, 0.99), "max_ms": ms[-1],
            "in_process_p50_ms": middle, "stalled": sum(call > middle + STALL_MS for call in ms)}


def small(address, pid, build, seconds, turns=9):
    """The call in process and over HTTP by turns, each a median of the turns' p50; the client is
    http_load, in C: what a client in Python adds of its own, some 30 us, is no part of it."""
    scores, targets = draw(128, 128, 4)
    us = {"in process": [], "HTTP binary": [], "HTTP JSON": []}
    with tempfile.TemporaryDirectory() as folder:
        files = {"HTTP binary": f"{folder}/binary", "HTTP JSON": f"{folder}/json"}
        for name, file in files.items():
            Path(file).write_bytes(b"".join(request(scores, targets, name == "HTTP binary")))
        for _ in range(turns):
            us["in process"].append(statistics.median(time_in_process(build / "bench" / "engine", scores, targets, 1000)) * 1e3)
            for name, file in files.items():
                us[name].append(load(build, address[1], pid, 1, seconds / 8, file)["p50_us"])
    print("ap, 128 x 128, loss and gradient, one kept-alive connection, by turns: p50 in us")
    cases = [{"name": name, "p50_us": statistics.median(of), "least_us": min(of)} for name, of in us.items()]
    for case in cases:
        over = case["p50_us"] - cases[0]["p50_us"]
        print(f"{case['name']:12} {case['p50_us']:9.1f}   least {case['least_us']:9.1f}   {over:9.1f} over in process")
    return cases


def scatter_us(lists, columns, nonzero, runs=50):
    """Microseconds for a client to make a dense array from sparse pairs, in numpy."""
    indices = np.sort(np.random.default_rng(2).choice(lists * columns, nonzero, replace=False)).astype(np.int64)
    values, us = np.ones(nonzero, np.float32), []
    for _ in range(runs):
        begun = time.perf_counter()
        dense = np.zeros(lists * columns, np.float32)
        dense[indices] = values
        us.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(us)


def sparse(address, program, runs, turns=7):
    print("\nap, dense and sparse gradient by turns, inputs in binary\n"
          "scores         outputs in   reply bytes: dense    sparse    p50 in us: dense    sparse   and scattered   dense / "
          "sparse")
    cases = []
    for lists, columns, relevant in ((32, 128, 8), (128, 128, 4), (256, 4096, 8), (1, 1_000_000, 10_000)):
        scores, targets = draw(lists, columns, relevant)
        for binary in (True, False):
            forms = {"dense": ("loss", "gradient"), "sparse": ("loss", "gradient_indices", "gradient_values")}
            parts = {form: [b"".join(request(scores, targets, True, wanted, binary))] for form, wanted in forms.items()}
            connection, us = Connection(address, True), {form: [] for form in forms}
            sizes = {form: connection.call(part) for form, part in parts.items()}
            for _ in range(turns):
                for form, part in parts.items():
                    count = max(3, min(runs // 20, 20_000_000 // (lists * columns) // turns))
                    us[form] += [ms * 1e3 for ms in time_calls(connection, part, count)]
            p50 = {form: statistics.median(times) for form, times in us.items()}
            scattered = p50["sparse"] + scatter_us(lists, columns, sizes["sparse"] // 12 if binary else sizes["sparse"] // 19)
            cases.append({"lists": lists, "columns": columns, "binary": binary, "bytes": sizes, "p50_us": p50,
                          "scattered": scattered})
            print(f"{lists:4} x {columns:8} {'binary' if binary else 'JSON':>10} {sizes['dense']:20} {sizes['sparse']:9} "
                  f"{p50['dense']:19.0f} {p50['sparse']:9.0f} {scattered:15.0f} {p50['dense'] / p50['sparse']:16.2f}")
    return cases


def sweep(address, program, runs):
    print("\nbody      lists   in process  one write: p50      p99      max   head apart, Nagle: p50      p99      max  (ms)")
    cases = []
    for power in range(10, 25):
        lists = max(1, (1 << power) // (5 * COLUMNS))
        scores, targets = draw(lists, COLUMNS, RELEVANT)
        count = max(20, min(runs, (256 << 20) >> power))
        base = time_in_process(program, scores, targets, min(count, 200))
        head, body = request(scores, targets, True)
        whole = figures("one write", time_calls(Connection(address, True), [head + body], count), base)
        apart = figures("head apart", time_calls(Connection(address, False), [head, body], count), base)
        cases += [{"body_bytes": len(body), "calls": count, **case} for case in (whole, apart)]
        print(f"{len(body):9} {lists:5}   {statistics.median(base):10.3f} " +
              "     ".join(f"{case['p50_ms']:12.3f} {case['p99_ms']:8.3f} {case['max_ms']:8.3f}" for case in (whole, apart)))
    print(f"calls that took {STALL_MS} ms more than in process, all sizes: {sum(case['stalled'] for case in cases)} of "
          f"{sum(case['calls'] for case in cases)}")
    return cases


def cpu_seconds(pid):
    """Processor time of all threads of a process."""
    return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def load(build, port, pid, connections, seconds, request):
    """The output of http_load, and the server's processor time per answer."""
    before = cpu_seconds(pid)
    command = [build / "bench" / "http_load", str(port), str(connections), str(seconds), request]
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return done | {"cpu_us": (cpu_seconds(pid) - before) * 1e6 / max(1, done["answers"])}


def rates(port, pid, build, seconds, turns=9):
    """Requests per second of the daemon, of libmicrohttpd alone, and of libmicrohttpd with the
    computation, by turns; medians."""
    lists, columns = 32, 128
    scores, targets = draw(lists, columns, 8)
    whole = b"".join(request(scores, targets, True))
    answered = Connection(("127.0.0.1", port), True).call([whole])
    alone = build / "bench" / "http_alone"
    peers = {"alone": [alone, str(answered)], "computing": [alone, str(answered), str(lists), str(columns)]}
    servers = {name: subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
               for name, command in peers.items()}
    at = {"rankd": (port, pid)} | {name: (int(server.stdout.readline()), server.pid) for name, server in servers.items()}
    print("\n32 x 128, binary, by turns: medians of requests/s, p50 in us, least processor time of the server in us a request\n"
          "                  rankd                      libmicrohttpd alone              with the computation             "
          "rankd's share of\nconnections   requests/s     p50     cpu   requests/s     p50     cpu   requests/s     p50     cpu  "
          " the first  the second")
    cases = []
    with tempfile.NamedTemporaryFile() as file:
        file.write(whole)
        file.flush()
        for connections in (1, 8, 32, 128):
            runs = {name: [] for name in at}
            for _ in range(turns):
                for name, (to, of) in at.items():
                    runs[name].append(load(build, to, of, connections, seconds / 4, file.name))
            if any(run["failed"] for run in runs["rankd"]):
                raise SystemExit(f"the daemon refused some of {runs['rankd']}")
            middle = {name: {key: statistics.median(run[key] for run in of) for key in of[0]} for name, of in runs.items()}
            for name, of in runs.items():
                middle[name]["cpu_us_least"] = min(run["cpu_us"] for run in of if run["answers"])
            cases.append({"connections": connections, **middle})
            row = "".join(f"{m['per_s']:13.0f} {m['p50_us']:7.0f} {m['cpu_us_least']:7.1f}" for m in middle.values())
            print(f"{connections:11}{row}" + "".join(f"{middle['rankd']['per_s'] / max(1, middle[p]['per_s']):12.2f}"
                                                     for p in peers))
    for server in servers.values():
        server.stdin.close()
        server.wait()
    return cases


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--build", type=Path, required=True)
    parse.add_argument("--runs", type=int, default=2000, help="calls of a small case; large ones are fewer")
    parse.add_argument("--seconds", type=float, default=2, help="of each measurement of a rate")
    parse.add_argument("--only", choices=("small", "sparse", "rates", "sweep"), help="one part")
    parse.add_argument("--http-threads", type=int, default=1)
    args = parse.parse_args()
    daemon = subprocess.Popen([args.build / "rankd", "--http", "127.0.0.1:0", "--log-level", "warn",
                               "--http-threads", str(args.http_threads)], stdout=subprocess.PIPE, text=True)
    try:
        line = daemon.stdout.readline()
        host, _, port = line.split("http://")[1].split()[0].strip("/").rpartition(":")
        program = args.build / "bench" / "engine"
        address = host, int(port)
        parts = {"small": lambda: small(address, daemon.pid, args.build, args.seconds),
                 "sweep": lambda: sweep(address, program, args.runs), "sparse": lambda: sparse(address, program, args.runs),
                 "rates": lambda: rates(address[1], daemon.pid, args.build, args.seconds)}
        cases = {name: part() for name, part in parts.items() if args.only in (None, name)}
    finally:
        daemon.terminate()
        daemon.wait()
    out = args.build / "bench" / "http.json"
    out.write_text(json.dumps(cases, indent=1))
    print(f"written: {out}")


if __name__ == "__main__":
    main()
