#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lines of prose have at most 100 columns: comments on lines of their own, docstrings and pages.

    prose.py            names the files with longer lines; exit status 1 if there is one
    prose.py --fix      fills the paragraphs of such lines anew

Tables, blocks of code, drawings and long words are left alone, and so are comments after code,
which have the limit of code.
"""
import ast
import re
import subprocess
import sys

WIDTH = 100
HASH = (".py", ".mk", ".sh", ".yml", ".yaml", ".cfg", ".toml", "Makefile", "Dockerfile")
CUDA = (".cu", ".cuh", ".cc")
SLASH = (".c", ".h", *CUDA)

# Lines that stay as they are: drawings and tables, marks for tools, lines that begin with a sign of
# Markdown.
DRAWN = re.compile(r"\S {2,}\S|[─│═┌└►▼]|SPDX|noqa|clang-format|NOLINT|type: ignore")
ARROWS = re.compile(r"[─│═┌└►▼]|--[->]")
BULLET = re.compile(r"\s*(?:- |\d+\. )")
TERM = re.compile(r"\s*[\w*`\"][\w*`\",.=()\[\]…-]*(?: [\w*`\",=()\[\]…-]+){0,3} {2,}(?=[^\s#|+])")


def is_long(line):
    return len(line) > WIDTH


def drawn(text):
    """Whether the blanks of a line have a meaning, so that it can't be filled."""
    return not text.strip() or text.startswith((" ", "-", "|", "#", "!", "<", "@")) or BULLET.match(text) or DRAWN.search(text)


def hang_of(text):
    """The blanks before the second line of an item: of a list, or of a term with its meaning. None:
    it is no item."""
    item = BULLET.match(text) or TERM.match(text)
    return " " * len(item.group(0)) if item and not ARROWS.search(text) else None


def fill(words, first, rest):
    """Lines of at most WIDTH columns, if the words allow it; `first` begins the first one, `rest`
    the others."""
    lines, line, empty = [], first, True
    for word in words:
        if not empty and len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line, empty = rest, True
        line, empty = line + ("" if empty else " ") + word, False
    return lines + [line]


def paragraphs(lines, texts, prefix_of, needs=is_long):
    """The lines, with each paragraph filled anew that has a line for which `needs` is true.
    texts[i] is the prose of lines[i], None if it has none; prefix_of(i) is the prefix of its line,
    and prefix_of(-1 - i) that of a new line after it."""
    out, i = [], 0
    while i < len(lines):
        hang = None if texts[i] is None else hang_of(texts[i])
        if texts[i] is None or (hang is None and drawn(texts[i])):
            out.append(lines[i])
            i += 1
            continue
        end, blanks = i + 1, hang or ""
        while end < len(lines) and goes_on(texts[end], blanks):
            end += 1
        if any(needs(line) for line in lines[i:end]):
            first, text = prefix_of(i), " ".join([texts[i][len(blanks):], *texts[i + 1:end]])
            rest = prefix_of(i + 1) if end > i + 1 else prefix_of(-1 - i)
            out += fill(text.split(), first + texts[i][:len(blanks)], rest + blanks)
        else:
            out += lines[i:end]
        i = end
    return out


def goes_on(text, blanks):
    """Whether a line continues the paragraph or item before it. A number with a full stop does,
    unless it is 1."""
    if text is None or not text.startswith(blanks):
        return False
    rest = text[len(blanks):]
    if re.match(r"(?!1\.)\d+\. ", rest):
        return True
    return not drawn(rest) and hang_of(rest) is None


def page(lines, needs=is_long):
    """Fills Markdown: paragraphs and items of lists outside of blocks of code."""
    texts, code = [], False
    for line in lines:
        fence = line.lstrip().startswith("```")
        texts.append(None if code or fence or line.startswith("    ") else line)
        code = code != fence
    return paragraphs(lines, texts, lambda i: "", needs)


def hash_comments(lines, needs=is_long, sign="#"):
    """Fills lines that contain only a comment."""
    found = [re.match(rf"(\s*@?{sign} )(\S.*)$", line) for line in lines]
    texts = [m.group(2) if m else None for m in found]
    prefixes = [m.group(1) if m else "" for m in found]
    for i in range(1, len(lines)):                             # another indentation begins another paragraph
        if texts[i] is not None and texts[i - 1] is not None and prefixes[i] != prefixes[i - 1]:
            return hash_comments(lines[:i], needs, sign) + hash_comments(lines[i:], needs, sign)
    return paragraphs(lines, texts, lambda i: prefixes[i if i >= 0 else -1 - i], needs)


def block_comments(lines, needs=is_long):
    """Fills C comments that begin on their own line."""
    out, i = [], 0
    while i < len(lines):
        opened = re.match(r"(\s*)/\* ?", lines[i])
        if not opened:
            out.append(lines[i])
            i += 1
            continue
        end = i
        while "*/" not in lines[end]:
            end += 1
        out += block_comment(lines[i:end + 1], opened, needs) if lines[end].rstrip().endswith("*/") else lines[i:end + 1]
        i = end + 1
    return out


def block_comment(lines, opened, needs):
    """Fills one comment, without its stars and its end."""
    indent, star = opened.group(1), len(lines) == 1 or re.match(r"\s*\*", lines[1])
    alone = len(lines) > 1 and lines[-1].strip() == "*/"
    if not star or lines[0].strip() == "/*" or not (alone or any(needs(line) for line in lines)):
        return lines
    texts = [lines[0][opened.end():]] + [re.sub(r"^\s*\* ?", "", line) for line in lines[1:]]
    body = list(lines)
    if alone and drawn(texts[-2]):
        texts[-1] = None
    elif alone:
        body[-2:], texts[-2:] = [lines[-2] + " */"], [texts[-2] + "\x00*/"]
    else:                                                     # the end counts as part of the last word
        texts[-1] = re.sub(r"\s*\*/\s*$", "\x00*/", texts[-1])
    filled = paragraphs(body, texts, lambda i: indent + "/* " if i == 0 else indent + " * ", needs)
    return [line.replace("\x00", " ") for line in filled]


def docstrings(lines, needs=is_long):
    """Fills the paragraphs of Python docstrings."""
    spans = []
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node):
            spans.append((node.body[0].lineno - 1, node.body[0].end_lineno))
    out = list(lines)
    for start, end in sorted(spans, reverse=True):
        if any(needs(line) for line in out[start:end]):
            out[start:end] = docstring(out[start:end], needs)
    return out


def docstring(lines, needs):
    indent = re.match(r"\s*", lines[0]).group(0)
    quotes = re.match(r'\s*[rR]?"""', lines[0])
    if not quotes:
        return lines
    texts = [lines[0][quotes.end():]]
    for line in lines[1:]:
        texts.append(line[len(indent):] if line.startswith(indent) else None if line.strip() else "")
    if texts[-1] is not None and texts[-1].strip() == '"""':
        texts[-1] = None
    return paragraphs(lines, texts, lambda i: quotes.group(0) if i == 0 else indent, needs)


def refilled(name, lines, needs=is_long):
    if name.endswith(".md"):
        return page(lines, needs)
    if name.endswith(CUDA):
        lines = hash_comments(lines, needs, "//")
    if name.endswith(SLASH):
        return block_comments(lines, needs)
    if name.endswith(".lua"):
        return hash_comments(lines, needs, "--")
    if name.endswith(HASH):
        lines = docstrings(lines, needs) if name.endswith(".py") else lines
        return hash_comments(lines, needs)
    return lines


def main():
    names = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.split()
    bad = 0
    for name in names:
        if not name.endswith(HASH + SLASH + (".md", ".lua")):
            continue
        with open(name, encoding="utf-8") as file:
            text = file.read()
        lines = text.split("\n")
        filled = refilled(name, lines)
        if filled != lines and "--fix" in sys.argv[1:]:
            with open(name, "w", encoding="utf-8") as file:
                file.write("\n".join(filled))
        elif filled != lines:
            bad += 1
            at = next(i for i, line in enumerate(lines) if i >= len(filled) or filled[i] != line)
            print(f"{name}:{at + 1}: prose of more than {WIDTH} columns (tests/prose.py --fix)")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
