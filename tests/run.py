#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the unit-test programs and the pytest folders, and closes with one line: `N passed, N failed`.

A test that was skipped counts as failed, because a test that could not run proves nothing; the only exception is a
skip whose reason begins with "no GPU". A program that crashes counts as one failed test on top of what it reported.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path

ALLOWED_SKIP = "no GPU"


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, xml_path):
        """Counts the test cases of a JUnit file (cmocka's and pytest's look alike)."""
        for case in ET.parse(xml_path).getroot().iter("testcase"):
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed += 1
            elif skip is not None:
                if (skip.get("message") or "").startswith(ALLOWED_SKIP):
                    self.skipped += 1
                else:
                    self.failed += 1
                    print(f"  could not run: {case.get('name')}: {skip.get('message')}")
            else:
                self.passed += 1


def run_unit(program, tally, timeout):
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
            # cmocka writes a control character or an unescaped text of an assertion now and then
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
            print(f"FAILED {program} (exit {code})\n{output}")
        else:
            print(f"ok {program} ({time.monotonic() - started:.1f} s)", flush=True)


def run_pytest(folders, tally, build):
    with tempfile.TemporaryDirectory() as tmp:
        report = f"{tmp}/pytest.xml"
        env = dict(os.environ, RANKD_BUILD=str(Path(build).resolve()), PYTHONDONTWRITEBYTECODE="1",
                   PYTHONPATH=str(Path("clients/python").resolve()))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=15", f"--junitxml={report}", *folders]
        code = subprocess.run(command, env=env).returncode
        if os.path.exists(report):
            before = tally.failed
            tally.add(report)
            if code not in (0, 5) and tally.failed == before:
                tally.failed += 1
        elif code != 5:
            tally.failed += 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--unit", nargs="*", default=[])
    parser.add_argument("--pytest", nargs="*", default=[])
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one unit-test program")
    arguments = parser.parse_args()
    tally = Tally()
    for program in arguments.unit:
        run_unit(program, tally, arguments.timeout)
    folders = [f for f in arguments.pytest if any(Path(f).rglob("test_*.py"))]
    for folder in folders:  # each by itself: their conftest.py files bear the same name
        run_pytest([folder], tally, arguments.build)
    skipped = f", {tally.skipped} skipped" if tally.skipped else ""
    print(f"{tally.passed} passed, {tally.failed} failed{skipped}")
    return 1 if tally.failed or not tally.passed else 0


if __name__ == "__main__":
    sys.exit(main())
