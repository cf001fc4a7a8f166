# SPDX-License-Identifier: Apache-2.0
"""Every promise of docs/reference/promises.md names tests that are there."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/promises.md"


def held_by(cell):
    """[(file, a part of a test's name or None)] of a row's last column."""
    pairs, path = [], None
    for word in re.findall(r"`([^`]+)`", cell):
        if re.fullmatch(r"[\w./-]+\.(py|c)", word):
            path = ROOT / "tests" / word.removeprefix("tests/")
            pairs.append((path, None))
        elif path and re.fullmatch(r"\w+", word):
            pairs.append((path, word))
    return pairs


def test_every_promise_is_held_by_a_test_that_exists():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and line != "| promise | test |"]
    assert len(rows) > 10
    for row in rows:
        pairs = held_by(row.strip("| ").split(" | ")[-1])
        assert pairs, f"nobody holds: {row}"
        for path, name in pairs:
            assert path.exists(), f"{path} is not there: {row}"
            assert not name or name in path.read_text(), f"{path.name} has no test of {name}: {row}"
