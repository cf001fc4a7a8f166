# SPDX-License-Identifier: Apache-2.0
"""Every promise of docs/reference/promises.md names tests that exist and are run."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/promises.md"


def held_by(cell):
    """[(file, a part of a test's name or None)] of a row's last column. Names stand behind their
    file, with or without backticks, shortened by … or not."""
    pairs, path = [], None
    for word in re.findall(r"[\w./-]+", cell):
        if re.fullmatch(r"[\w./-]+\.(py|c|txt)", word):
            path = ROOT / "tests" / word.removeprefix("tests/")
            pairs.append((path, None))
        elif path and "_" in word:
            pairs.append((path, word))
    return pairs


def names_in(path):
    """Names of the tests of a file: those that pytest collects, those that a program hands to
    cmocka, by itself or by a macro (the compiler reports a test that no table has)."""
    text = path.read_text()
    if path.suffix == ".py":
        return re.findall(r"^def (test_\w+)\(", text, re.M)
    return re.findall(r"(?:cmocka_unit_test\w*\(\s*|^static void )(\w+)(?=[,)]|\(void \*\*)", text, re.M)


def test_every_promise_is_held_by_a_test_that_exists():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and line != "| promise | test |"]
    assert len(rows) > 10
    for row in rows:
        pairs = held_by(row.strip("| ").split(" | ")[-1])
        assert pairs, f"nobody holds: {row}"
        for path, name in pairs:
            assert path.exists(), f"{path} is not there: {row}"
            assert not name or any(name in test for test in names_in(path)), f"{path.name} has no test of {name}: {row}"
            assert name or names_in(path) or path.parent.name in ("fuzz", "data"), f"{path.name} has no test: {row}"
