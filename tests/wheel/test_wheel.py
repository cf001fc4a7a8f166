# SPDX-License-Identifier: Apache-2.0
"""The wheel of `make wheel`: its contents, and that an empty venv needs nothing else."""
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
VERSION = (ROOT / "clients/python/rankd/VERSION").read_text().strip()
WHEEL = BUILD / f"wheel/rankd-{VERSION}-py3-none-manylinux_2_34_x86_64.whl"
SDIST = BUILD / f"wheel/rankd-{VERSION}.tar.gz"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A venv with the wheel; numpy alone comes from the system."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--system-site-packages", "--without-pip", folder], check=True)
    subprocess.run(["/usr/bin/python3", "-m", "pip", "--python", folder / "bin/python", "install", "--quiet", "--no-index",
                    "--disable-pip-version-check", WHEEL], check=True)
    return folder


@pytest.fixture
def run(installed, tmp_path):
    """Runs a program of the venv without any other part of rankd, and ends its daemon."""
    for name in ("run", "state", "tmp"):
        (tmp_path / name).mkdir(mode=0o700)
    environment = {"PATH": f"{installed}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run"),
                   "XDG_STATE_HOME": str(tmp_path / "state"), "TMPDIR": str(tmp_path / "tmp"), "RANKD_LINGER": "5min",
                   "RANKD_SYSTEM_SOCKET": str(tmp_path / "none")}

    def run(*command, status=0):
        done = subprocess.run([installed / "bin" / command[0], *command[1:]], env=environment, cwd=tmp_path, capture_output=True,
                              text=True, timeout=120)
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    yield run
    run("python", "-m", "rankd", "stop")


def test_it_holds_the_package_the_programs_and_the_notices():
    with zipfile.ZipFile(WHEEL) as packed:
        names = packed.namelist()
        notices = packed.read(f"rankd-{VERSION}.dist-info/licenses/LIBRARIES").decode()
        metadata = packed.read(f"rankd-{VERSION}.dist-info/METADATA").decode()
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in packed.infolist()}
    assert {f"rankd/_bin/{name}" for name in ("rankd", "rankctl", "librankd.so.0")} <= set(names)
    package = [path for path in (ROOT / "clients/python/rankd").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {f"rankd/{path.relative_to(ROOT / 'clients/python/rankd')}" for path in package} <= set(names)
    assert {f"rankd-{VERSION}.dist-info/licenses/{name}" for name in ("LICENSE", "NOTICE")} <= set(names)
    assert modes["rankd/_bin/rankd"] == modes["rankd/_bin/rankctl"] == 0o755
    assert f"\nVersion: {VERSION}\n" in metadata
    page = (ROOT / "docs/howto/install.md").read_text()
    libraries = {re.sub(r"-[0-9a-f]{8}\.so.*", "", name.split("/")[1]) for name in names if name.startswith("rankd.libs/")}
    assert libraries and not libraries & {"libcurl", "libopenblas", "libkrb5"}
    for library in [*libraries, "libmicrohttpd"]:
        assert f"{library}" in notices and f"`{library}`" in page, library


def test_an_empty_venv_computes_a_loss(run):
    out = run("python", "-c", """
import rankd
client = rankd.connect()
result = client.loss("ap", [[0.9, 0.8, 0.7, 0.6]], [[0, 1, 0, 1]], lambda_val=1.0, margin=0.0)
print(result.loss, result.gradient.tolist(), client.transport.url)
client.banks.create("b", dim=2, capacity=8)
print(client.loss("ap", embeddings=[[1.0, 0.0], [0.0, 1.0]], labels=[0, 0], bank="b").info.bank_items)""")
    assert re.match(r"0\.5 \[\[0\.25, -0\.25, 0\.25, -0\.25\]\] unix:\S+\n0\n", out), out
    assert "b " in run("rankctl", "banks") and "process" in run("python", "-m", "rankd", "status")


def test_the_programs_of_it_are_of_its_version(run):
    assert run("rankd", "--version") == f"rankd {VERSION}\n" and run("rankctl", "--version") == f"rankctl {VERSION}\n"
    told = run("python", "-m", "rankd", "doctor")
    assert f"librankd         {VERSION}" in told and f"rankd {VERSION}" in told and "FAIL" not in told


def test_rankctl_of_it_speaks_over_the_socket_alone(run):
    run("python", "-c", "import rankd; rankd.connect().metadata()")
    assert "requests/s" in run("rankctl", "bench", "--duration", "0.1")
    for where in (["--url", "http://127.0.0.1:1"], ["--url", "https://host"]):
        assert run("rankctl", "banks", *where, status=2) == ""
    assert "port" not in run("rankctl", "doctor", "--url", "http://127.0.0.1:1")


def test_librankd_of_it_says_that_it_has_no_http(installed):
    library = next((installed / "lib").glob("python3*/site-packages/rankd/_bin/librankd.so.0"))
    code = f"""
import ctypes
error = ctypes.create_string_buffer(600)
client = ctypes.c_void_p()
print(ctypes.CDLL({str(library)!r}).rankd_open(b"http://127.0.0.1:1", None, ctypes.byref(client), error),
error.raw[4:].split(b"\\0")[0].decode())"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "6 url is 'http://127.0.0.1:1'; it may be unix:PATH: this librankd was built without HTTP\n"


def test_the_daemon_of_it_takes_the_options_of_any_other(run):
    assert run("rankd", "--check-config", "--http", "127.0.0.1:0").count("\n") > 20


def test_the_source_distribution_has_what_a_build_needs():
    with tarfile.open(SDIST) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
        metadata = packed.extractfile(f"rankd-{VERSION}/PKG-INFO").read().decode()
    assert {"Makefile", "pyproject.toml", "deploy/wheel/backend.py", "clients/python/pyproject.toml", "server/main.c",
            "LICENSE"} <= names
    assert f"Version: {VERSION}" in metadata and not any(name.startswith("build") for name in names)
    assert sys.version_info >= (3, 9)
