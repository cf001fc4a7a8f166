#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A discrete-event model of one bank in a store: H hosts, each with a daemon and trainers that
append a batch, wait for it, and compute. Writes docs/images/store-model.svg and prints the table of
docs/performance-notes-store.md.

The store is one queue (Redis runs commands on one thread) behind one network interface. Service
times are those that were measured on two shared cores of loopback; only the network is assumed.
Three ways to read: every daemon from the master; every daemon from a replica on its host, which the
master feeds; the same, with replicas fed by replicas, FAN_OUT each."""
import heapq
from pathlib import Path

NETWORK = 1.25e9          # bytes/s of an interface: 10 Gbit/s
COMMAND = 12e-6           # s of the store's thread for a small command: XREAD's share, WAIT, bookkeeping
APPEND = 90e-6            # s for SET and the script, without the bytes
PER_BYTE = 2.0e-9         # s per byte that the store's thread copies in or out (485 MiB/s of catch-up; 1 MiB appends)
ROUND_TRIP = 100e-6       # s between two hosts
FAN_OUT = 8
WAYS = ("master", "replicas", "tree")


class Server:
    """Serves one after the other; `free` is when it is done with all that came."""

    def __init__(self):
        self.free, self.busy = 0.0, 0.0

    def serve(self, now, seconds):
        self.free = max(self.free, now) + seconds
        self.busy += seconds
        return self.free


def fed(hosts, way):
    """The number of copies of a batch that leave the master's interface, and of servers on the way
    of the last copy."""
    if way == "master":
        return hosts - 1, 1
    if way == "replicas":
        return hosts, 1
    depth, reached = 1, FAN_OUT
    while reached < hosts:
        depth, reached = depth + 1, reached * FAN_OUT
    return min(FAN_OUT, hosts), depth


def simulate(hosts, size, think, way, steps=12, trainers=1):
    """Batches per second, and the p50 and p99 of an append, in seconds, and of the time until the
    last host has the batch."""
    store, inward, outward = Server(), Server(), Server()
    copies, depth = fed(hosts, way)
    writers = hosts * trainers
    events = [(think * i / writers, i) for i in range(writers)]
    heapq.heapify(events)
    appends, lags, end = [], [], 0.0
    for _ in range(writers * steps):
        now, writer = heapq.heappop(events)
        there = store.serve(inward.serve(now, size / NETWORK) + ROUND_TRIP / 2, APPEND + size * PER_BYTE)
        # Each copy costs the master's thread a command (or a write of the replication stream) and
        # its bytes on the wire.
        spread = store.serve(there, copies * (COMMAND + (size * PER_BYTE if way == "master" else size * PER_BYTE / 4)))
        sent = outward.serve(spread, copies * size / NETWORK)
        acknowledged = there + ROUND_TRIP * (1.5 if way != "master" else 0.5)
        last = sent + depth * (ROUND_TRIP / 2 + size / NETWORK * (1 if depth == 1 else FAN_OUT))
        appends.append(acknowledged - now)
        lags.append(last - there)
        end = max(end, acknowledged)
        heapq.heappush(events, (acknowledged + think, writer))
    appends.sort()
    lags.sort()
    pick = lambda values, share: values[min(len(values) - 1, int(share * len(values)))]  # noqa: E731
    return {"rate": len(appends) / end, "p50": pick(appends, 0.5), "p99": pick(appends, 0.99), "lag": pick(lags, 0.99),
            "store": store.busy / end, "network": outward.busy / end, "wanted": writers / think}


HOSTS = (4, 8, 16, 32, 64, 128, 256, 512, 1000)
SIZES = ((64 << 10, "64 KiB"), (1 << 20, "1 MiB"))
THINK = 0.1


def table():
    rows = []
    for size, name in SIZES:
        for way in WAYS:
            for hosts in HOSTS:
                rows.append((name, way, hosts, simulate(hosts, size, THINK, way)))
    return rows


def draw(rows):
    colours = {"master": "#1565c0", "replicas": "#b23b00", "tree": "#2e7d32"}
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 330" font-family="sans-serif" font-size="12">',
           '<rect width="760" height="330" fill="#ffffff"/>']
    import math
    for panel, (_, name) in enumerate(SIZES):
        left, top, width, height = 60 + panel * 370, 40, 290, 230
        x_of = lambda h: left + width * math.log(h / 4) / math.log(250)  # noqa: E731
        y_of = lambda share: top + height * (1 - share)  # noqa: E731
        out.append(f'<text x="{left + width / 2}" y="22" text-anchor="middle" font-weight="bold" fill="#222">batches of {name}, '
                   'one each 0.1 s and host</text>')
        out.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#bbb"/>')
        for share in (0, 0.25, 0.5, 0.75, 1):
            out.append(f'<text x="{left - 6}" y="{y_of(share) + 4}" text-anchor="end" fill="#555">{share:.0%}</text>')
        for hosts in (4, 16, 64, 256, 1000):
            out.append(f'<text x="{x_of(hosts)}" y="{top + height + 16}" text-anchor="middle" fill="#555">{hosts}</text>')
        out.append(f'<text x="{left + width / 2}" y="{top + height + 34}" text-anchor="middle" fill="#555">hosts</text>')
        for way in WAYS:
            points = [(h, r["rate"] / r["wanted"]) for n, w, h, r in rows if n == name and w == way]
            path = " ".join(f"{x_of(h):.1f},{y_of(min(1, s)):.1f}" for h, s in points)
            out.append(f'<polyline points="{path}" fill="none" stroke="{colours[way]}" stroke-width="2"/>')
    for i, (way, text) in enumerate(zip(WAYS, ("all read from the master", "a replica on each host",
                                               "replicas fed by replicas"))):
        out.append(f'<text x="{60 + i * 230}" y="322" fill="{colours[way]}">{text}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"


def main():
    rows = table()
    (Path(__file__).parent / "store-model.svg").write_text(draw(rows))
    print("| batch | way | hosts | batches/s | of those wanted | append p50 | p99 | last host, p99 | store busy | network busy |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, way, hosts, r in rows:
        if hosts in (4, 16, 64, 256, 1000):
            print(f"| {name} | {way} | {hosts} | {r['rate']:.0f} | {r['rate'] / r['wanted']:.0%} | {r['p50'] * 1e3:.2f} ms "
                  f"| {r['p99'] * 1e3:.2f} ms | {r['lag'] * 1e3:.1f} ms | {r['store']:.0%} | {r['network']:.0%} |")


if __name__ == "__main__":
    main()
