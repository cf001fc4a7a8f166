# SPDX-License-Identifier: Apache-2.0
"""docs/code-map.md names existing files and functions that they define; docs/glossary.md names
declarations of the code."""
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAP = (ROOT / "docs/code-map.md").read_text()
GLOSSARY = (ROOT / "docs/glossary.md").read_text()
FILE = r"[\w-]+(?:/[\w.-]+)*/[\w-]+\.\w+"


def steps():
    """[(file, function)] of the tables, and of sentences that say `file`: `function`."""
    rows = re.findall(rf"^\|[^|\n]+\| `({FILE})` \| `(\w+)` \|$", MAP, re.M)
    return rows + re.findall(rf"`({FILE})`:\s+`(\w+)`", MAP)


def defines(text, name):
    """Whether the text defines the function: in C a declaration with a brace after its parameter
    list, or in Python."""
    if re.search(rf"^ *def {name}\(", text, re.M):
        return True
    return re.search(rf"^[A-Za-z][^;{{}}()=#]*\b{name}\([^;{{}}]*\)\s*\{{", text, re.M) is not None


@pytest.mark.parametrize("path, name", steps(), ids=lambda value: value)
def test_a_step_of_the_map_names_a_function_of_its_file(path, name):
    assert defines((ROOT / path).read_text(), name), f"{path} defines no {name}()"


def test_every_row_of_the_map_is_a_step():
    rows = [row for row in MAP.splitlines() if row.startswith("| ") and row != "| step | file | function |"]
    assert len(rows) > 50 and len(steps()) >= len(rows), "a row has another form than | step | `file` | `function` |"


def test_every_file_that_the_map_names_exists():
    for path in re.findall(rf"`({FILE})`", MAP):
        assert (ROOT / path).is_file(), path


def test_the_paths_are_numbered_and_their_number_is_said():
    numbers = [int(number) for number in re.findall(r"^## (\d+)\.", MAP, re.M)]
    assert numbers == list(range(1, len(numbers) + 1))
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    assert f"{words[len(numbers)].capitalize()} paths through the code" in MAP


def test_a_call_or_a_declaration_is_no_definition():
    assert defines("static int\nadd(int a)\n{\n", "add") and defines("int add(int a,\n        int b)\n{\n", "add")
    assert not defines("int add(int a);\n", "add") and not defines("    return add(1);\n}\n", "add")


def test_the_glossary_explains_fifty_words_or_more_by_names_that_the_code_has():
    assert len(re.findall(r"^\| (?!word |---)", GLOSSARY, re.M)) >= 50
    names = subprocess.run(["git", "ls-files", "lib", "server", "clients", "proto", "tests/layers.py"], cwd=ROOT,
                           check=True, capture_output=True, text=True).stdout.split()
    source = "\n".join((ROOT / name).read_text(errors="replace") for name in names)
    for quoted in re.findall(r"`([^`]+)`", GLOSSARY):
        if re.fullmatch(r"(lib|server|tests)/[\w./]+", quoted):
            assert (ROOT / quoted).exists(), quoted
        elif tag := re.fullmatch(r"struct (\w+)", quoted):
            assert re.search(rf"\bstruct {tag[1]}\s*\{{", source), quoted
        elif field := re.fullmatch(r"rk_\w+\.(\w+)", quoted):
            assert re.search(rf"\b{field[1]}\b", source), quoted
        elif re.fullmatch(r"\w+_\w+", quoted):
            assert re.search(rf"\b{quoted}\b", source), quoted
