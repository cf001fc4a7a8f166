#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""JSON over HTTP: `ap` on 128 x 128, loss and gradient, and the memory that a body of 16 MiB takes.
Several builds go by turns."""
import argparse
import json
import re
import statistics
import subprocess
from pathlib import Path

import numpy as np
from http_daemon import Connection, draw, quantile, request, time_calls

MIB = 1 << 20


class Daemon:
    def __init__(self, build):
        self.process = subprocess.Popen([Path(build) / "rankd", "--http", "127.0.0.1:0", "--log-level", "warn", "--json-bytes",
                                         "64M"],
                                        stdout=subprocess.PIPE, text=True)
        host, _, port = self.process.stdout.readline().split("http://")[1].split()[0].strip("/").rpartition(":")
        self.address = (host, int(port))

    def peak(self):
        return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) * 1024

    def stop(self):
        self.process.terminate()
        self.process.wait()


def latency(builds, runs):
    parts = [b"".join(request(*draw(128, 128, 4), False))]
    daemons = [Daemon(build) for build in builds]
    connections = [Connection(daemon.address, True) for daemon in daemons]
    ms = [[] for _ in builds]
    for _ in range(5):
        for i, connection in enumerate(connections):
            ms[i] += time_calls(connection, parts, runs // 5)
    for daemon in daemons:
        daemon.stop()
    print(f"ap, 128 x 128, loss and gradient as JSON, {len(parts[0])} bytes")
    for build, times in zip(builds, ms):
        times.sort()
        print(f"  {build}: p50 {statistics.median(times):.3f} ms   p99 {quantile(times, 0.99):.3f} ms")


def memory(builds):
    """The loss alone, so that the memory is that of the request."""
    for name, targets_type, datatype in (("FP32", np.int8, "FP32"), ("FP64", np.int8, "FP64")):
        columns = 16 * MIB // 128 // 22
        scores = np.random.default_rng(1).random((128, columns), dtype=np.float32)
        targets = np.zeros((128, columns), targets_type)
        targets[:, ::1000] = 1
        body = json.dumps({"inputs": [
            {"name": "scores", "datatype": datatype, "shape": list(scores.shape), "data": scores.ravel().tolist()},
            {"name": "targets", "datatype": "INT8", "shape": list(scores.shape), "data": targets.ravel().tolist()}],
            "outputs": [{"name": "loss"}]}, separators=(",", ":")).encode()
        head = f"POST /v2/models/ap/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        print(f"a body of {len(body) / MIB:.1f} MiB of JSON, {name}: what the resident memory grew by at most")
        for build in builds:
            daemon = Daemon(build)
            Connection(daemon.address, True).call([b"".join(request(*draw(1, 16, 4), False))])
            before = daemon.peak()
            Connection(daemon.address, True).call([head + body])
            print(f"  {build}: {(daemon.peak() - before) / MIB:.1f} MiB, {(daemon.peak() - before) / len(body):.2f} x the body")
            daemon.stop()


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("builds", nargs="+")
    parse.add_argument("--runs", type=int, default=500)
    args = parse.parse_args()
    latency(args.builds, args.runs)
    memory(args.builds)


if __name__ == "__main__":
    main()
