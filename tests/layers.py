#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make lint-layers: checks the rules about folders and files, from the sources alone.

  - an include points down: a room includes rooms before it in the order, none after it, and not
    itself through another room
  - no file includes itself through others
  - a struct, union or enum tag means one type in the whole tree
  - a static function with a one-word name is in at most one file of a room
  - no source is longer than 500 lines
  - no line of C, and none of Python outside of tests/, is longer than 130 columns
  - in a folder whose files have an order, a file includes, calls and imports only what the files
    before it hold
  - no line of prose in a page (*.md) is longer than 100 columns (tables, code and long addresses
    aside)
  - with --objects FOLDER: an object file calls and reads only what its own room and the rooms
    before it define, and no files of one folder call each other in a circle

With --list, prints the order. Exit status 1 if a rule is broken.
"""
import argparse
import ast
import collections
import os
import re
import subprocess
import sys

# The order, lowest first. A name is a room (a folder) or a file of the top folder; rooms in one set
# do not see each other.
ORDER = {
    "lib": ["base", "request", "losses", "kernels", "blackbox", "bank", "device", {"scores", "retrieval"},
            {"engine.c", "engine.h"}],
    "server": ["config", "base", "access", "codec", "store", "bank_store", "bank", "exec", "regions", "api", {"http", "ring"},
               {"app.c", "app.h", "main.c", "detach.c", "detach.h", "health.c", "health.h"}],
}
# The plugin is built apart: it shares headers of these rooms, and nobody includes it.
APART = {("lib", "cuda"): {"base", "request", "losses", "kernels", "device"}}
# Whom each top folder sees beside itself.
SEES = {"proto": set(), "lib": {"proto"}, "server": {"lib", "proto"}, "clients": {"proto"},
        "deploy": {"lib", "server", "proto", "clients"}, "tests": {"lib", "server", "proto", "clients"}}
SEARCH = ["proto", "lib", "server", "clients/c", "clients/ctl", "deploy/gen", "tests", "tests/gpu/emulator"]
# Within a folder, its files by stem, lowest first. What stands in one set does not see each other.
FILES = {
    "clients/c": ["rankd", {"arena", "clock", "error", "names", "http_memory", "reply_numbers", "transport"},
                  {"error_body", "request"}, "http_json", "http_internal", "http_transfer", "http",
                  "ring_internal", {"ring_memory", "ring_encode", "ring_answer"}, "ring_wait", {"ring_request", "ring_control"},
                  "ring", "client"],
    "clients/python/rankd": [{"_names", "_version", "errors", "programs"},
                             {"answers", "home", "librankd", "names", "parameters", "sockets", "tensors", "wire"},
                             {"transport", "results"},
                             {"reply", "retry", "start"}, {"http", "ring"}, "auto", "find", "banks", "client",
                             {"jax", "local", "scripts"}, "evaluation", "metrics", "doctor", "__init__", "__main__"],
    "clients/python/rankd/torch": [{"convert", "device_memory", "distributed", "gradient", "own_bank", "schedule", "state",
                                    "tracing", "warn", "wording"},
                                   {"calibration", "host_ranks", "learning", "lists", "memory", "reach", "shards", "team"},
                                   "origin", "operators", "functional",
                                   "joint", {"balanced", "joint_scores"}, {"losses", "ranking", "queries"}, "binary",
                                   {"checkpoint", "detection", "graded", "monitoring", "retrieval"}, "__init__"],
    "clients/python/rankd/integrations": ["__init__",
                                          {"boosting", "checkpoints", "detection", "metric_learning", "sentence_transformers"}],
}
MOST_LINES = 500
MOST_COLUMNS = 130
SOURCE = (".c", ".h", ".cu", ".cuh", ".cc", ".py", ".sh", ".mk", ".html", ".def")


def rank_of(top, name):
    return rank_in(ORDER[top], name)


def rank_in(order, name):
    for i, rooms in enumerate(order):
        if name == rooms or (isinstance(rooms, set) and name in rooms):
            return i
    return None


def room_of(path):
    parts = path.split("/")
    return (parts[0], parts[1]) if len(parts) > 1 else (parts[0], "")


def code_of(text):
    """The text without comments and strings, line numbers kept."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m[0]) if m[0][0] != '"' else '""'
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, text, flags=re.S)


class Tree:
    def __init__(self):
        names = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.split("\n")
        self.files = [n for n in names if n.endswith((".c", ".h", ".cu", ".cuh", ".cc", ".def")) and os.path.exists(n)]
        self.sources = [n for n in names if n.endswith(SOURCE) and os.path.exists(n)]
        self.text = {n: open(n, encoding="utf-8").read() for n in self.files}
        self.includes = {n: self.included(n) for n in self.files}

    def included(self, name):
        found = []
        for m in re.finditer(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', self.text[name], re.M):
            line = self.text[name].count("\n", 0, m.start()) + 1
            for folder in [os.path.dirname(name)] + SEARCH:
                at = os.path.normpath(os.path.join(folder, m[1]))
                if at in self.text:
                    found.append((line, at))
                    break
        return found


def check_arrows(tree):
    for name in tree.files:
        top, room = room_of(name)
        for line, other in tree.includes[name]:
            other_top, other_room = room_of(other)
            where = f"{name}:{line}: includes {other}"
            if top in SEES and other_top != top and other_top not in SEES[top]:
                yield f"{where}, but {top}/ does not see {other_top}/"
            if top not in ORDER or other_top != top or room == other_room:
                continue
            if (top, room) in APART:
                if other_room not in APART[top, room]:
                    yield f"{where}, which {top}/{room}/ does not share"
                continue
            if (top, other_room) in APART:
                yield f"{where}, which is built apart"
                continue
            here, there = rank_of(top, room), rank_of(top, other_room)
            if here is None or there is None:
                yield f"{where}: {top}/{room if here is None else other_room} has no place in the order (tests/layers.py)"
            elif there > here:
                yield f"{where}, which runs back: {top}/{room} comes before {top}/{other_room}"
            elif there == here and not {room, other_room} <= (ORDER[top][here] if room.endswith((".c", ".h")) else set()):
                yield f"{where}: {top}/{room} and {top}/{other_room} stand side by side"


def check_circles(tree):
    state, stack = {}, []

    def visit(name):
        state[name] = "open"
        stack.append(name)
        for _, other in tree.includes[name]:
            if state.get(other) == "open":
                yield "includes in a circle: " + " -> ".join(stack[stack.index(other):] + [other])
            elif other not in state:
                yield from visit(other)
        stack.pop()
        state[name] = "done"

    for name in tree.files:
        if name not in state:
            yield from visit(name)


def check_tags(tree):
    where = collections.defaultdict(list)
    for name in tree.files:
        if name.startswith("tests/gpu/emulator/"):
            continue  # declares a type of another header
        code = code_of(tree.text[name])
        for m in re.finditer(r"\b(struct|union|enum|class)\s+(?:__attribute__\(\(.*?\)\)\s*|alignas\(.*?\)\s*)?([A-Za-z_]\w*)\s*\{", code):
            where[m[2]].append(f"{name}:{code.count(chr(10), 0, m.start()) + 1}")
    for tag, places in sorted(where.items()):
        if len(places) > 1:
            yield f"the tag {tag} is {len(places)} types: " + ", ".join(places)


def check_statics(tree):
    where = collections.defaultdict(lambda: collections.defaultdict(set))
    for name in tree.files:
        if name.startswith("tests/"):
            continue
        room = "/".join(room_of(name)) if room_of(name)[0] in ORDER else os.path.dirname(name)
        code = code_of(tree.text[name])
        for m in re.finditer(r"^(?:static|RK_INLINE)\b[^;{}()=]*?\b([a-z][a-z0-9]*)\(", code, re.M):
            if m[1] not in ("__attribute__", "sizeof"):
                where[room][m[1]].add(f"{name}:{code.count(chr(10), 0, m.start(1)) + 1}")
    for room, names in sorted(where.items()):
        for word, places in sorted(names.items()):
            if len({p.split(":")[0] for p in places}) > 1:
                yield f"{room}: static {word}() stands in {len(places)} files: " + ", ".join(sorted(places))


def check_lengths(tree):
    for name in tree.sources:
        if name.startswith(("tests/data/", "docs/")):
            continue
        lines = sum(1 for _ in open(name, encoding="utf-8"))
        if lines > MOST_LINES:
            yield f"{name}: {lines} lines; at most {MOST_LINES}"


def check_columns(tree):
    for name in tree.sources:
        if not name.endswith((".c", ".h", ".cu", ".cuh", ".cc", ".py")) or (name.endswith(".py") and name.startswith("tests/")):
            continue
        for number, line in enumerate(open(name, encoding="utf-8"), 1):
            if len(line.rstrip("\n")) > MOST_COLUMNS:
                yield f"{name}:{number}: {len(line) - 1} columns; code has at most {MOST_COLUMNS}"


def check_prose():
    names = subprocess.run(["git", "ls-files", "*.md"], check=True, capture_output=True, text=True).stdout.split()
    for name in names:
        fenced = False
        for number, line in enumerate(open(name, encoding="utf-8"), 1):
            line = line.rstrip("\n")
            fenced ^= line.lstrip().startswith("```")
            if not fenced and len(line) > 100 and not line.startswith(("|", "    ", "<!--")) and not re.search(r"\S{60,}", line):
                yield f"{name}:{number}: {len(line)} columns; prose has at most 100"


def stem_of(path):
    return os.path.splitext(os.path.basename(path))[0]


def uses_of(tree, folder):
    """(file, line, other file, used name) within a folder: by includes, by names that a C file
    defines, and by imports."""
    own = [n for n in tree.sources if os.path.dirname(n) == folder]
    code = {n: code_of(tree.text[n]) for n in own if n in tree.text}
    defined = {}
    for name in code:
        for m in re.finditer(r"^(?!static\b)[a-z][\w *]*?\b(rankd_\w+)(?:\([^;{}]*\)\n\{|[^;{}()]*= \{)", code[name], re.M):
            defined[m[1]] = name
    for name in code:
        for line, other in tree.includes[name]:
            if os.path.dirname(other) == folder:
                yield name, line, other, "its declarations"
        for m in re.finditer(r"(?<!struct )\brankd_\w+", code[name]) if name.endswith(".c") else ():
            if m[0] in defined:
                yield name, code[name].count("\n", 0, m.start()) + 1, defined[m[0]], m[0]
    for name in (n for n in own if n.endswith(".py")):
        for node in ast.walk(ast.parse(open(name, encoding="utf-8").read())):
            if isinstance(node, ast.ImportFrom) and node.level > 0:
                base = os.path.normpath(os.path.join(folder, "../" * (node.level - 1), (node.module or "").replace(".", "/")))
                package = os.path.isdir(base) and node.module
                for other in [f"{base}/__init__.py" if package else f"{base}.py"] if node.module else [f"{base}/{a.name}.py"
                    for a in node.names]:
                    yield name, node.lineno, other, "an import"


def check_files(tree):
    for folder, order in FILES.items():
        for name in (n for n in tree.sources if os.path.dirname(n) == folder and n.endswith((".c", ".h", ".py"))):
            if rank_in(order, stem_of(name)) is None:
                yield f"{name} has no place in the order of {folder} (tests/layers.py)"
        for name, line, other, what in uses_of(tree, folder):
            if os.path.dirname(other) != folder:
                if os.path.dirname(other).startswith(folder + "/"):
                    yield f"{name}:{line}: imports {other}, which runs back: {folder} comes before the folders in it"
                continue
            here, there = rank_in(order, stem_of(name)), rank_in(order, stem_of(other))
            if None not in (here, there) and stem_of(name) != stem_of(other) and there >= here:
                yield f"{name}:{line}: uses {what} of {other}, which does not come before it in {folder}"


def symbols_of(folder, tops):
    """The object that defines each symbol, and the symbols that each object uses; by the object's
    path in `folder`."""
    defined, used = {}, collections.defaultdict(set)
    for top in tops:
        for path, _, names in os.walk(os.path.join(folder, top)):
            for o in (n for n in names if n.endswith(".o")):
                at = os.path.relpath(os.path.join(path, o), folder)
                if not os.path.exists(at[:-1] + "c") and not os.path.exists(at[:-2]):
                    continue  # its source was deleted
                out = subprocess.run(["nm", "-g", os.path.join(path, o)], capture_output=True, text=True).stdout
                for row in out.splitlines():
                    kind, symbol = row.split()[-2:]
                    if kind == "U":
                        used[at].add(symbol)
                    elif kind not in "wvWV":
                        defined[symbol] = at
    return defined, used


def check_objects(folder):
    """Finds calls that no include shows (a declaration made by hand, a table of externs)."""
    defined, used = symbols_of(folder, ORDER)
    for at, symbols in sorted(used.items()):
        top, room = room_of(at.replace(".o", ".c"))
        for symbol in sorted(symbols):
            other = defined.get(symbol)
            if not other or other == at or (top, room) in APART:
                continue
            other_top, other_room = room_of(other.replace(".o", ".c"))
            if other_top != top:
                if other_top not in SEES[top]:
                    yield f"{at}: uses {symbol} of {other}, but {top}/ does not see {other_top}/"
                continue
            here, there = rank_of(top, room), rank_of(top, other_room)
            together = here == there and room.endswith((".c", ".h")) and other_room.endswith((".c", ".h"))
            if room != other_room and here is not None and there is not None and there >= here and not together:
                yield f"{at}: uses {symbol} of {other}, which runs back"


def check_calls(folder):
    """Circles of calls among the files of a folder: each file that can reach itself."""
    defined, used = symbols_of(folder, [*ORDER, "clients"])
    calls = collections.defaultdict(set)
    for at, symbols in used.items():
        calls[at] = {defined[s] for s in symbols if s in defined and defined[s] != at
                     and os.path.dirname(defined[s]) == os.path.dirname(at)}
    for start in sorted(calls):
        if room_of(start)[:2] in APART:
            continue
        way, seen = [(start, [start])], set()
        while way:
            at, path = way.pop()
            if start in calls[at]:
                if start == min(path):  # reported once, for the first of its files
                    yield "calls in a circle: " + " -> ".join([*path, start])
                break
            for other in calls[at] - seen:
                seen.add(other)
                way.append((other, [*path, other]))


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--objects", metavar="FOLDER", help="build/obj: look at symbols too")
    args.add_argument("--list", action="store_true", help="print the order")
    args = args.parse_args()
    if args.list:
        for top, rooms in [*ORDER.items(), *FILES.items()]:
            print(f"{top}/: " + " <- ".join(", ".join(sorted(r)) if isinstance(r, set) else r for r in rooms))
        return 0
    tree = Tree()
    checks = [check_arrows(tree), check_circles(tree), check_tags(tree), check_statics(tree), check_files(tree),
              check_lengths(tree), check_columns(tree), check_prose()]
    if args.objects:
        checks += [check_objects(args.objects), check_calls(args.objects)]
    broken = 0
    for check in checks:
        for sentence in check:
            print(sentence)
            broken += 1
    if broken:
        print(f"lint-layers: {broken} broken", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
