# SPDX-License-Identifier: Apache-2.0
"""A private daemon for the length of a `with` block: for tests, and for jobs that share no
daemon."""
from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .client import Client
from .find import open_transport
from .home import find_home
from .start import end, listener, start
from .wire import Deadline

_SET_HERE = ("http", "socket", "detach")
_START_WITHIN = 60.0


@contextmanager
def local(*, timeout: float = 60.0, retry_for: float = 0.0, **settings: Any) -> Iterator[Client]:
    """A client of a daemon that ends with the block: `with rankd.local() as client:`.

    `settings` are options of the daemon by their names with _ for - (`workers=1`, `data=folder`,
    `budget_bytes="512M"`); without `data`, banks are in memory. RANKD_ variables of this process
    are ignored. The daemon listens on a socket only: `client.transport.url` is for other
    processes. If this process is killed in the block, the daemon ends ten seconds later. Raises
    CannotStart."""
    for name in _SET_HERE:
        if name in settings:
            raise ValueError(f"{name} is set by local(); start `python -m rankd serve` for a daemon with another one")
    path = find_home().folder / f"local-{secrets.token_hex(6)}.sock"
    options: dict[str, Any] = {"http": "off", "socket": path, "ring_linger": "10s", "log_level": "warn"}
    options |= {name: value for name, value in settings.items() if value is not None}
    if options.get("data"):
        options["data"] = os.path.abspath(options["data"])
    with tempfile.TemporaryFile() as log:
        start(options, log.fileno(), Deadline(_START_WITHIN), inherit=False)
    owner, pid = os.getpid(), listener(path)
    # A client may have no connection for a while: this one holds the daemon.
    held = open_transport(f"unix:{path}?arena=1M&entries=2", None, None)
    client = Client(open_transport(f"unix:{path}?arena=8M&spin_us=50", None, None), timeout=timeout, retry_for=retry_for)
    try:
        held.call("GET", "/v2/health/ready", b"", timeout)
        yield client
    finally:
        if os.getpid() == owner:  # not in a child that was forked within the block
            client.close()
            held.close()
            if pid is not None:
                end(pid, _START_WITHIN)
