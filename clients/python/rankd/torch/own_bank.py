# SPDX-License-Identifier: Apache-2.0
"""A bank that a loss makes for itself: it begins empty and is deleted with the loss."""
from __future__ import annotations

import uuid
import weakref
from typing import Any

from ..client import Client
from ..errors import RankdError


def create_bank(owner: object, client: Client, name: str | None, purpose: str, **config: Any) -> str:
    """Creates the bank `name` if it does not exist yet, and returns the name. Without a name, the
    bank belongs to the owner: its name begins with `purpose`, and it is deleted with the owner.
    `config`: see Banks.create."""
    made = name or f"{purpose}-{uuid.uuid4().hex[:16]}"
    client.banks.create(made, **config)
    if name is None:
        weakref.finalize(owner, _delete, client, made)
    return made


def _delete(client: Client, name: str) -> None:
    try:
        client.banks.delete(name)
    except RankdError:
        pass  # the daemon is gone, and its memory too
