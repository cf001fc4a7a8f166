# SPDX-License-Identifier: Apache-2.0
"""python -m rankd doctor: which daemon a client here would use, whether its files can be used, and
then the findings of rankctl doctor about the machine. Changes nothing and starts nothing."""
from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np

from ._version import VERSION
from .auto import guest_settings, running
from .errors import RankdError
from .find import Place, find
from .home import state_folder
from .programs import program
from .start import listener

# mark, subject, finding, remedy
_Finding = tuple[str, str, str, str]


def doctor() -> int:
    """Prints the findings. The exit status: 1 if one of them is FAIL."""
    failed = False
    for look in (_package, _library, _programs, _daemon, _state):
        for mark, what, seen, remedy in _findings(look):
            failed |= mark == "FAIL"
            print(f"{mark}  {what:16s} {seen}")
            if remedy:
                print(f"{'':23s}-> {remedy}")
    rankctl = program("rankctl")
    if rankctl is None:
        print("warn  rankctl          is not installed; the machine is not looked at")
        return int(failed)
    sys.stdout.flush()
    return max(int(failed), subprocess.run([str(rankctl), "doctor", *_where()], check=False).returncode)


def _findings(look: Callable[[], Iterator[_Finding]]) -> Iterator[_Finding]:
    try:
        yield from look()
    except (RankdError, OSError, ValueError) as error:
        yield "FAIL", look.__name__.strip("_"), str(error), ""


def _package() -> Iterator[_Finding]:
    yield "ok  ", "package", f"rankd {VERSION}, Python {platform.python_version()}, numpy {np.__version__}", ""


def _library() -> Iterator[_Finding]:
    try:
        from . import librankd
    except ImportError as error:
        yield "warn", "librankd", str(error), "without it there is no shared memory: only http:// and https:// work"
        return
    version = librankd.lib.rankd_version().decode()
    fine = version == VERSION
    yield "ok  " if fine else "warn", "librankd", version, "" if fine else f"it should be {VERSION}: reinstall the package"


def _programs() -> Iterator[_Finding]:
    path = program("rankd")
    if path is None:
        yield "warn", "daemon", "none is installed", "install the wheel (make wheel), or name a daemon in RANKD_URL"
        return
    done = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False)
    fine = done.stdout.strip() == f"rankd {VERSION}"
    said = done.stdout.strip() or done.stderr.strip() or f"status {done.returncode}"
    yield "ok  " if fine else "FAIL", "daemon", f"{path}: {said}", "" if fine else "reinstall the package"


def _daemon() -> Iterator[_Finding]:
    url = os.environ.get("RANKD_URL")
    if url:
        yield "ok  ", "client uses", f"{url} (RANKD_URL)", ""
        return
    place = find()
    yield "ok  ", "client uses", f"{place.url.partition('?')[0]} ({place.why})", ""
    if place.home is not None:
        yield from _own(place)


def _own(place: Place) -> Iterator[_Finding]:
    assert place.home is not None
    about = running(place.home)
    if about is None:
        yield "ok  ", "own daemon", "does not run; the first request starts it", ""
        settings = guest_settings()
        text = ", ".join(f"{name.replace('_', '-')} {settings[name]}" for name in ("budget_bytes", "ring_linger") if name in settings)
        yield "ok  ", "its options", text, ""
    else:
        fine = about.get("version") == VERSION
        yield ("ok  " if fine else "FAIL", "own daemon", f"process {about['pid']} runs, rankd {about.get('version')}",
               "" if fine else "end it with `python -m rankd stop`")
    yield "ok  ", "its log", str(place.home.log), ""


def _state() -> Iterator[_Finding]:
    if "RANKD_DATA" in os.environ:
        return
    folder, reason = state_folder()
    if folder is None:
        yield "warn", "banks", f"in memory only: {reason}", "RANKD_DATA names another folder for them"
    else:
        yield "ok  ", "banks", f"in {folder}", ""


def _where() -> list[str]:
    """For rankctl: the socket that it should reach. That of this user's own daemon need not exist
    yet."""
    if os.environ.get("RANKD_URL"):
        return []
    try:
        place = find()
    except (RankdError, ValueError):
        return []
    path = place.url.removeprefix("unix:").partition("?")[0]
    if not place.url.startswith("unix:") or (place.home is not None and listener(path) is None):
        return []
    return ["--socket", path]
