# SPDX-License-Identifier: Apache-2.0
"""tests/prose.py fills lines of prose, and leaves everything else as it is."""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import prose  # noqa: E402

WORDS = "a sentence that is repeated " * 5


def filled(name, text):
    lines = prose.refilled(name, text.split("\n"))
    assert prose.refilled(name, lines) == lines  # twice is once
    return lines


def words_of(lines, marks):
    return " ".join(line.strip().strip(marks).strip() for line in lines).split()


def test_paragraphs_and_items_of_a_page_are_filled_and_tables_and_code_are_not():
    for text, indent in ((WORDS, ""), (f"- {WORDS}", "  "), (f"1. {WORDS}", "   ")):
        lines = filled("page.md", text)
        assert len(lines) == 2 and max(map(len, lines)) <= 100 and " ".join(lines).split() == text.split()
        assert lines[1].startswith(indent) and not lines[1][len(indent):].startswith(" ")
    for text in (f"| {WORDS} |", f"```\n{WORDS}\n```", f"    {WORDS}", "x" * 120):
        assert filled("page.md", text) == text.split("\n")


def test_comments_and_docstrings_keep_their_code():
    comment = f"    /* {WORDS}*/\n    int x; /* {WORDS}*/"
    lines = filled("file.c", comment)
    assert [len(line) <= 100 for line in lines] == [True, True,
                                                    False] and lines[1].startswith("     * ") and lines[1].endswith("*/")
    assert words_of(lines[:2], "/* ") == WORDS.split()
    lines = filled("file.py", f'def f():\n    """{WORDS}"""\n    # {WORDS}\n    return "{WORDS}"')
    assert max(map(len, lines[:-1])) <= 100 and lines[-1] == f'    return "{WORDS}"'
    compile("\n".join(lines), "file.py", "exec")


def test_a_term_with_a_meaning_hangs_and_a_drawing_stays():
    lines = filled("file.h", f"/*\n */\n/* Terms:\n *   name   {WORDS}\n *   +--> other   {WORDS}\n */")
    assert lines[4].startswith(" *          sentence") and lines[5] == f" *   +--> other   {WORDS}"


def test_a_number_at_the_beginning_of_a_line_is_no_item():
    lines = filled("page.md", f"{WORDS}\n32. {WORDS}")
    assert max(map(len, lines)) <= 100 and len(lines) == 3

