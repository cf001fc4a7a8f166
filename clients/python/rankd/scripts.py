# SPDX-License-Identifier: Apache-2.0
"""The commands `rankd` and `rankctl` of an installation by pip: this process becomes the
program."""
from __future__ import annotations

import os
import sys
from typing import NoReturn

from .errors import RankdError
from .find import find
from .programs import program


def become(name: str, arguments: list[str], *, anywhere: bool = False) -> NoReturn:
    """Replaces this process by the program; exits with 1 and a sentence where there is none. Only
    other callers search PATH (`anywhere`), because PATH may lead back to the commands of this
    file."""
    path = program(name, anywhere=anywhere)
    if path is None:
        sys.exit(f"{name}: this installation of rankd has no {name}; `make wheel` builds one that has")
    sys.stdout.flush()
    os.execv(path, [name, *arguments])


def rankd() -> NoReturn:
    """The daemon."""
    become("rankd", sys.argv[1:])


def rankctl() -> NoReturn:
    """rankctl. If nothing names a daemon, it uses the one that a client would find."""
    become_rankctl(sys.argv[1:])


def become_rankctl(arguments: list[str]) -> NoReturn:
    """As rankctl() with these arguments."""
    if not os.environ.get("RANKD_URL"):
        try:
            os.environ["RANKD_URL"] = find().url
        except (RankdError, ValueError) as error:
            print(f"rankctl: {error}", file=sys.stderr)
    become("rankctl", arguments)
