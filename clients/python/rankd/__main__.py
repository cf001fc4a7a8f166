# SPDX-License-Identifier: Apache-2.0
"""python -m rankd doctor|serve|status|bench|stop: the programs of the package as one command.

    doctor            checks this installation and this machine, and names a remedy for each problem
    serve [options]   runs the daemon in the foreground; options are those of rankd (--help lists
                      them)
    status            tells which daemon a client would use, and what it does
    bench [options]   measures it, starting it if need be; options are those of rankctl bench
    stop              ends this user's own daemon; clients that need it start it again
"""
from __future__ import annotations

import os
import sys

from .auto import running
from .client import connect
from .doctor import doctor
from .errors import RankdError
from .find import find
from .scripts import become, become_rankctl
from .start import end

_USAGE = __doc__.partition("\n\n")[2] if __doc__ else ""
_STOP_WITHIN = 60.0


def main(arguments: list[str]) -> int:
    """Runs the command; the exit status."""
    commands = {"doctor": _doctor, "serve": _serve, "status": _status, "bench": _bench, "stop": _stop}
    if arguments and arguments[0] in ("-h", "--help", "help"):
        print(f"usage: python -m rankd {'|'.join(commands)}\n\n{_USAGE}", end="")
        return 0
    if not arguments or arguments[0] not in commands:
        given = f"'{arguments[0]}' is not a command" if arguments else "a command is missing"
        print(f"rankd: {given}; it may be {', '.join(commands)}", file=sys.stderr)
        return 2
    try:
        return commands[arguments[0]](arguments[1:])
    except (RankdError, ValueError) as error:
        print(f"rankd: {error}", file=sys.stderr)
        return 1


def _none(command: str, arguments: list[str]) -> None:
    if arguments:
        raise ValueError(f"{command} takes no arguments, and got '{arguments[0]}'")


def _doctor(arguments: list[str]) -> int:
    _none("doctor", arguments)
    return doctor()


def _serve(arguments: list[str]) -> int:
    become("rankd", arguments, anywhere=True)


def _status(arguments: list[str]) -> int:
    if not os.environ.get("RANKD_URL"):
        place = find()
        if place.home is not None:
            about = running(place.home)
            if about is None:
                print(f"no daemon runs for this user; the first request starts one on {place.home.socket}")
                return 1
            print(f"rankd {about['version']}, process {about['pid']}, socket {place.home.socket}, log {place.home.log}")
            sys.stdout.flush()
    become_rankctl(["status", "--once", "--interval", "0.5", *arguments])


def _bench(arguments: list[str]) -> int:
    connect(retry_for=0).metadata()  # starts it if it is this user's own
    become_rankctl(["bench", *arguments])


def _stop(arguments: list[str]) -> int:
    _none("stop", arguments)
    home = find().home
    about = running(home) if home is not None else None
    if about is None:
        print("no daemon of this user runs")
        return 0
    if not end(about["pid"], _STOP_WITHIN):
        raise RankdError(f"process {about['pid']} did not end within {_STOP_WITHIN:g} s")
    print(f"process {about['pid']} ended")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
