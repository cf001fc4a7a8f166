#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the unit-test programs and the pytest folders, and closes with one line: `N passed, N
failed`.

A daemon of the build that is left at the end counts as a failed test, and is ended.

As many programs run side by side as there are processors (--jobs); the output of each is printed in
one piece at its end.

A test that was skipped counts as failed, because a test that could not run proves nothing; the only
exception is a skip whose reason begins with "no GPU", or with "no data": the recipes' data sets are
missing and can't be fetched. A program that crashes counts as one failed test in addition to those
that it reported.
"""
import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

ALLOWED_SKIPS = ("no GPU", "no data")


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.text = ""

    def say(self, line):
        self.text += line + "\n"

    def take(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def add(self, xml_path):
        """Counts the test cases of a JUnit file (cmocka's and pytest's look alike)."""
        for case in ET.parse(xml_path).getroot().iter("testcase"):
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed += 1
            elif skip is not None:
                if (skip.get("message") or "").startswith(ALLOWED_SKIPS):
                    self.skipped += 1
                else:
                    self.failed += 1
                    self.say(f"  could not run: {case.get('name')}: {skip.get('message')}")
            else:
                self.passed += 1


def run_unit(program, timeout):
    tally = Tally()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="XML", CMOCKA_XML_FILE=f"{folder}/%g.xml")
        try:
            done = subprocess.run([program], env=env, capture_output=True, text=True, timeout=timeout)
            code, output = done.returncode, done.stdout + done.stderr
        except subprocess.TimeoutExpired as late:
            code, output = -1, f"no end after {timeout} s\n{late.stdout or ''}{late.stderr or ''}"
        before = tally.failed
        for path in Path(folder).glob("*.xml"):
            # cmocka sometimes writes a control character, or the text of an assertion unescaped
            text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "?", path.read_text(errors="replace"))
            path.write_text(text)
            try:
                tally.add(path)
            except ET.ParseError:
                output += text
                tally.failed += 1
        failed = tally.failed - before
        if code != 0 and failed == 0:
            tally.failed += 1
        if code != 0 or failed:
            for path in Path(folder).glob("*.xml"):
                output += path.read_text()
            tally.say(f"FAILED {program} (exit {code})\n{output}")
        else:
            tally.say(f"ok {program} ({time.monotonic() - started:.1f} s)")
    return tally


def run_pytest(folder, build):
    tally = Tally()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as tmp:
        report = f"{tmp}/pytest.xml"
        env = dict(os.environ, RANKD_BUILD=str(Path(build).resolve()), PYTHONDONTWRITEBYTECODE="1",
                   PYTHONPATH=str(Path("clients/python").resolve()))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=15", f"--junitxml={report}",
                   folder]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        code = done.returncode
        tally.say(f"{folder} ({time.monotonic() - started:.0f} s)\n{done.stdout}")
        if os.path.exists(report):
            before = tally.failed
            tally.add(report)
            if code not in (0, 5) and tally.failed == before:
                tally.failed += 1
        elif code != 5:
            tally.failed += 1
    return tally


def daemons_of(build):
    """Process ids of the build's daemons."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/exe"):
        try:
            program = os.readlink(path).removesuffix(" (deleted)")
        except OSError:  # it has ended, or belongs to another user
            continue
        if program == f"{Path(build).resolve()}/rankd":
            found.add(int(path.parent.name))
    return found


def left_behind(build, before, patience=15.0):
    """Daemons, with their command lines, that the tests started and that do not end by themselves.
    They are killed."""
    until = time.monotonic() + patience
    while (there := daemons_of(build) - before) and time.monotonic() < until:
        time.sleep(0.2)
    told = []
    for pid in there:
        try:
            told.append(f"{pid}: {Path(f'/proc/{pid}/cmdline').read_bytes().replace(bytes(1), b' ').decode(errors='replace')}")
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    return told


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--unit", nargs="*", default=[])
    parser.add_argument("--pytest", nargs="*", default=[])
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one unit-test program")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="how many run side by side")
    arguments = parser.parse_args()
    tally, before = Tally(), daemons_of(arguments.build)
    folders = [f for f in arguments.pytest if any(Path(f).rglob("test_*.py"))]
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        # The folders first, because they take longest; each by itself, because their conftest.py
        # files have the same name.
        jobs = [pool.submit(run_pytest, folder, arguments.build) for folder in folders]
        jobs += [pool.submit(run_unit, program, arguments.timeout) for program in arguments.unit]
        for job in concurrent.futures.as_completed(jobs):
            print(job.result().text, end="", flush=True)
            tally.take(job.result())
    for daemon in left_behind(arguments.build, before):
        print(f"FAILED: a daemon was left behind, {daemon}")
        tally.failed += 1
    skipped = f", {tally.skipped} skipped" if tally.skipped else ""
    print(f"{tally.passed} passed, {tally.failed} failed{skipped}")
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
