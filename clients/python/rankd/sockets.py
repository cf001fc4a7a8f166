# SPDX-License-Identifier: Apache-2.0
"""Closes sockets without owners, without warnings and in the right process."""
from __future__ import annotations

import os
import socket
import ssl
import weakref


def close_socket(held: socket.socket | None, owner: int) -> None:
    """Closes a socket that process `owner` opened. If it was inherited through a fork, only the
    descriptor of this process is closed, without a TLS or TCP shutdown for the parent."""
    if held is None:
        return
    if owner != os.getpid() and isinstance(held, ssl.SSLSocket):
        number = held.detach()
        if number >= 0:
            os.close(number)
        return
    held.close()


def close_when_dropped(connection: object, held: socket.socket) -> None:
    """Closes the socket when the connection that holds it is collected: with its transport, or with
    the thread it belongs to. If the collector closed it, there would be a ResourceWarning at an
    unrelated line."""
    weakref.finalize(connection, close_socket, held, os.getpid())
