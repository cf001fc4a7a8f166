# SPDX-License-Identifier: Apache-2.0
"""The man pages of librankd: every function has one, its prototypes are the header's, and its
example runs."""
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
MAN = BUILD / "man3"
VERSION = (ROOT / "clients/python/rankd/VERSION").read_text().strip()
PAGES = sorted(p.stem for p in (ROOT / "clients/c/man").glob("*.3"))
CALLS = [page for page in PAGES if page != "librankd"]
CODE = re.sub(r"/\*.*?\*/", "", (ROOT / "clients/c/rankd.h").read_text(), flags=re.S)
PROTOTYPES = dict((m[1], " ".join(m[0].split())) for m in re.finditer(r"(?<=RANKD_API )[^#;]*?\b(rankd_\w+)\([^;]*\);", CODE))


def run(*command, **more):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=120, **more)


def page_of(function):
    """The text of the page that `man` shows: links are followed."""
    text = (MAN / f"{function}.3").read_text()
    link = re.fullmatch(r"\.so man3/(\w+\.3)\n", text)
    return (MAN / link[1]).read_text() if link else text


def shown(page, columns=100):
    done = run("groff", "-man", "-t", "-ww", "-Tascii", "-P-cbou", f"-rLL={columns}n", "-rHY=0", MAN / f"{page}.3")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


def section(text, name):
    return re.search(rf"^{name}\n(.*?)(?=^\S|\Z)", text, re.M | re.S)[1]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_formats_without_a_warning_and_states_the_version(page):
    assert "NAME" in shown(page, columns=80)
    text = (MAN / f"{page}.3").read_text()
    assert f'"rankd {VERSION}"' in text and "@VERSION@" not in text


@pytest.mark.parametrize("page", CALLS)
def test_a_page_has_the_sections_that_a_caller_looks_for(page):
    text = shown(page)
    for name in ("SYNOPSIS", "DESCRIPTION", "OWNERSHIP", "RETURN VALUE", "ERRORS", "EXAMPLES", "SEE ALSO"):
        assert section(text, name).strip(), name


@pytest.mark.parametrize("function", sorted(PROTOTYPES))
def test_a_function_is_on_its_page_as_the_header_declares_it(function):
    text = page_of(function)
    page = next(p for p in PAGES if (MAN / f"{p}.3").read_text() == text)
    assert PROTOTYPES[function] in " ".join(section(shown(page), "SYNOPSIS").split())
    assert re.search(rf"\b{function}\b", section(shown(page), "NAME"))


def test_no_page_is_of_a_function_that_is_gone():
    named = {name for page in CALLS for name in re.findall(r"\brankd_\w+", section(shown(page), "NAME"))}
    assert named == set(PROTOTYPES) | {"rankd_status", "rankd_error"}
    assert {p.stem for p in MAN.glob("*.3")} == named | {"librankd"}


def test_structs_and_statuses_on_the_pages_are_the_headers():
    synopses = " ".join(" ".join(section(shown(page), "SYNOPSIS").split()) for page in CALLS)
    structs = re.findall(r"struct \w+ \{.*?\};", CODE, re.S)
    assert len(structs) == 6
    for struct in structs:
        assert " ".join(struct.split()) in synopses, struct
    statuses = CODE + (ROOT / "proto/rankd_status.h").read_text()
    rows = re.findall(r"(RANKD_\w+) = (\d+)", re.sub(r"enum \{[^}]*\}", "", statuses))
    assert len(rows) > 20
    listed = dict(re.findall(r"^ +(RANKD_\w+) +(\d+) ", shown("rankd_status"), re.M))
    assert listed == {name: number for name, number in rows if name != "RANKD_OK"}


def sanitizer():
    """The sanitizer of the build, if any: a library with one needs a program with it."""
    library = (BUILD / "librankd.so.0").read_bytes()
    kinds = {b"__asan_init": "-fsanitize=address,undefined", b"__tsan_init": "-fsanitize=thread"}
    return [flag for mark, flag in kinds.items() if mark in library]


@pytest.mark.parametrize("page", CALLS)
def test_the_example_of_a_page_runs_over_both_transports(make_daemon, tmp_path, page):
    shown_as = re.search(r"^\.EX\n(.*?)^\.EE\n", (MAN / f"{page}.3").read_text(), re.M | re.S)[1]
    (tmp_path / "example.c").write_text(shown_as.replace("\\e", "\\"))
    program = tmp_path / "example"
    done = run("gcc", "-std=c17", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/proto", f"-I{ROOT}/clients/c", tmp_path / "example.c",
               *sanitizer(), f"-L{BUILD}", "-lrankd", "-o", program)
    assert done.returncode == 0, done.stderr
    daemon = make_daemon("--socket", tmp_path / "socket")
    for url in (f"unix:{tmp_path}/socket", daemon.url):
        done = run(program, url, env=dict(os.environ, LD_LIBRARY_PATH=str(BUILD)))
        assert done.returncode == 0, done.stdout + done.stderr
