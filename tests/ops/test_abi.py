# SPDX-License-Identifier: Apache-2.0
"""The binary interface of librankd is what its version script, Debian's symbols file, its header
and docs/reference/abi.md say."""
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
MAP = (ROOT / "clients/c/librankd.map").read_text()
SYMBOLS = (ROOT / "deploy/debian/librankd0.symbols").read_text()
ABI = (ROOT / "docs/reference/abi.md").read_text()
SONAME = re.search(r"^client_soname := (\S+)$", (ROOT / "clients/librankd.mk").read_text(), re.M)[1]


def run(*command, **more):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True, timeout=120, **more).stdout


def release(text):
    return tuple(int(part) for part in text.split("."))


def test_the_symbols_file_is_what_the_version_script_says():
    assert run(ROOT / "deploy/symbols.sh", SONAME, input=MAP) == SYMBOLS, "run `make symbols`"


def test_the_library_exports_what_the_symbols_file_lists_and_nothing_else():
    exported = re.findall(r"^\S* [A-Z] (\S+)$", run("nm", "-D", "--defined-only", BUILD / SONAME), re.M)
    listed = re.findall(r"^ (\S+) \S+$", SYMBOLS, re.M)
    assert len(listed) > 10
    # nm writes two @ before the node of a default symbol, and a node itself without an @.
    assert sorted(name.replace("@@", "@") for name in exported) == sorted(re.sub(r"^(RANKD_[\d_]+)@\1$", r"\1", n)
                                                                          for n in listed)


def test_the_header_declares_what_the_library_exports():
    declared = re.findall(r"^RANKD_API [^;]*?\b(rankd_\w+)\(", (ROOT / "clients/c/rankd.h").read_text(), re.M)
    assert sorted(declared) == sorted(re.findall(r"^ (rankd_\w+)@", SYMBOLS, re.M))


def test_no_symbol_is_of_a_release_to_come():
    version = release((ROOT / "clients/python/rankd/VERSION").read_text().strip())
    assert all(release(since) <= version for since in re.findall(r" (\d+\.\d+\.\d+)$", SYMBOLS, re.M))


def test_soname_package_and_python_client_agree():
    number = re.fullmatch(r"librankd\.so\.(\d+)", SONAME)[1]
    assert f"Library soname: [{SONAME}]" in run("readelf", "-d", BUILD / SONAME)
    assert SYMBOLS.startswith(f"{SONAME} librankd{number} ") and f"`{SONAME}`" in ABI
    assert f"\nPackage: librankd{number}\n" in (ROOT / "deploy/debian/control").read_text()
    assert f'_SONAME = "{SONAME}"' in (ROOT / "clients/python/rankd/librankd.py").read_text()


def test_the_structs_have_the_sizes_that_are_promised(tmp_path):
    """If this fails because a struct has grown, raise the soname (docs/reference/abi.md)."""
    promised = dict(re.findall(r"^\| `(rankd_\w+)` \| (\d+) \|$", ABI, re.M))
    header = re.sub(r"/\*.*?\*/", "", (ROOT / "clients/c/rankd.h").read_text(), flags=re.S)
    assert sorted(promised) == sorted(re.findall(r"^struct (rankd_\w+) \{", header, re.M))
    lines = "".join(f'printf("{name} %zu\\n", sizeof(struct {name}));' for name in promised)
    (tmp_path / "sizes.c").write_text(f"#include <stdio.h>\n#include <rankd.h>\nint main(void) {{ {lines} }}\n")
    run("gcc", f"-I{ROOT}/proto", f"-I{ROOT}/clients/c", tmp_path / "sizes.c", "-o", tmp_path / "sizes")
    assert dict(line.split() for line in run(tmp_path / "sizes").splitlines()) == promised
