# SPDX-License-Identifier: Apache-2.0
"""The build backend (PEP 517) of the whole project, as pyproject.toml at the top names it.

`pip install .` and `pip install rankd-VERSION.tar.gz` build daemon, rankctl and librankd by make,
which needs a C compiler and the packages of `deploy/deps.sh build`, and put them into the Python
package. Such a wheel loads the system's libraries; the one of `make wheel` (build.py) has its own.
"""
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "clients" / "python"
VERSION = (PACKAGE / "rankd" / "VERSION").read_text(encoding="ascii").strip()

# py3-none: any Python; not pure: the programs are of this machine's kind.
SETUP = """
from setuptools import Distribution, setup
try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:
    from wheel.bdist_wheel import bdist_wheel


class WithPrograms(Distribution):
    def has_ext_modules(self):
        return True


class PlatformWheel(bdist_wheel):
    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(distclass=WithPrograms, cmdclass={"bdist_wheel": PlatformWheel})
"""


def programs(build):
    """{name in rankd/_bin: file} of what make has built."""
    return {"rankd": build / "rankd", "rankctl": build / "wheel" / "clients" / "rankctl",
            "librankd.so.0": build / "wheel" / "clients" / f"librankd.so.{VERSION}"}


def pack(build, out):
    """Makes a wheel of the programs in `build` and the Python package, in folder `out`. Returns its
    name."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder) / "package"
        shutil.copytree(PACKAGE, stage, ignore=shutil.ignore_patterns("__pycache__", "demo", "*.egg-info", "build"))
        target = stage / "rankd" / "_bin"
        target.mkdir()
        for name, source in programs(build).items():
            subprocess.run(["strip", "-o", target / name, source.resolve()], check=True)
            (target / name).chmod(0o755)
        for name in ("LICENSE", "NOTICE", "README.md"):
            shutil.copy(ROOT / name, stage)
        (stage / "setup.py").write_text(SETUP)
        before = os.getcwd()
        os.chdir(stage)
        try:
            from setuptools import build_meta

            return build_meta.build_wheel(str(out))
        finally:
            os.chdir(before)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """PEP 517."""
    build = ROOT / "build"
    subprocess.run(["make", f"-j{os.cpu_count()}", "wheel-programs"], cwd=ROOT, check=True)
    return pack(build, Path(wheel_directory).resolve())


def build_sdist(sdist_directory, config_settings=None):
    """PEP 517: the files of git, or without git those of an unpacked source distribution."""
    name = f"rankd-{VERSION}"
    path = Path(sdist_directory) / f"{name}.tar.gz"
    metadata = f"Metadata-Version: 2.1\nName: rankd\nVersion: {VERSION}\nLicense: Apache-2.0\nRequires-Python: >=3.9\n"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as packed:
        for file in _sources():
            packed.add(ROOT / file, f"{name}/{file}", recursive=False, filter=_plain)
        entry = tarfile.TarInfo(f"{name}/PKG-INFO")
        entry.size = len(metadata)
        packed.addfile(entry, io.BytesIO(metadata.encode()))
    return path.name


def _plain(entry):
    """Without this user's name, and with the modes that git has."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry


def _sources():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode == 0 and done.stdout:
        return [name for name in done.stdout.decode().split("\0") if name and (ROOT / name).exists()]
    skipped = {"build", ".git", "__pycache__"}
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*")
                  if path.is_file() and path.name != "PKG-INFO" and not skipped & set(path.relative_to(ROOT).parts))
