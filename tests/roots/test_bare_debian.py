# SPDX-License-Identifier: Apache-2.0
"""The wheel on a Debian that has Python and nothing else: no compiler, no -dev packages, none of
our libraries.

`make check-wheel`. Each root is made once (build/roots/SUITE.tar, a minute or two of downloads),
unpacked for the test, and entered in namespaces of its own, so that whatever runs there ends with
the test.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
VERSION = (ROOT / "clients/python/rankd/VERSION").read_text().strip()
WHEEL = BUILD / f"wheel/rankd-{VERSION}-py3-none-manylinux_2_34_x86_64.whl"
SDIST = BUILD / f"wheel/rankd-{VERSION}.tar.gz"
TRAINER = 1000
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}

# A linear model is trained on AP by its gradient: numpy is all it needs.
TRAIN = """
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s")
import numpy as np, rankd
random = np.random.default_rng(0)
features, weights = random.normal(size=(16, 200, 8)).astype(np.float32), np.zeros(8, np.float32)
targets = (features[:, :, 0] + 0.3 * random.normal(size=(16, 200)) > 1.5).astype(np.int8)
client, losses = rankd.connect(), []
for _ in range(60):
    result = client.loss("ap", features @ weights, targets, margin=0.02, lambda_val=4.0)
    weights -= 3.0 * np.einsum("qn,qnd->d", result.gradient, features)
    losses.append(result.loss)
print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
assert losses[-1] < 0.6 * losses[0]
client.banks.create("run", dim=8, capacity=100)
client.loss("ap", embeddings=features[0, :32], labels=np.arange(32) % 4, bank="run")
print(client.transport.url, client.banks.get("run").items)
"""


class Root:
    """An unpacked root file system, and programs in it."""

    def __init__(self, folder, suite):
        tar = BUILD / f"roots/{suite}.tar"
        if not tar.exists():
            tar.parent.mkdir(parents=True, exist_ok=True)
            part = tar.with_suffix(".part.tar")
            subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=python3-venv", suite, part,
                            "http://deb.debian.org/debian"], check=True, timeout=900)
            part.rename(tar)
        self.path = folder / suite
        self.path.mkdir()
        subprocess.run(["tar", "-xf", tar, "-C", self.path], check=True)
        self.path.chmod(0o755)

    def run(self, *command, user=0, status=0, script=None):
        """Runs a command in its own pid, mount and network namespaces, as `user` in its home."""
        enter = (f"mount -t proc proc {self.path}/proc && mount --rbind /dev {self.path}/dev && ip link set lo up 2>/dev/null; "
                 f'exec chroot --userspec={user}:{user} {self.path} env -i HOME=/home/trainer PATH=/venv/bin:/usr/bin:/bin "$@"')
        done = subprocess.run(["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-c", enter, "sh",
                               *command],
                              input=script, capture_output=True, text=True, timeout=300)
        assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="module", params=sorted(PYTHON))
def root(request, tmp_path_factory):
    suite = request.param
    folder = tmp_path_factory.mktemp("root")
    made = Root(folder, suite)
    wheels = made.path / "wheels"
    wheels.mkdir()
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
                    "--no-deps", "--python-version", PYTHON[suite], "--dest", wheels, "numpy"], check=True)
    subprocess.run(["cp", WHEEL, wheels], check=True)
    for path in ("home/trainer", "run/user"):
        (made.path / path).mkdir(parents=True, exist_ok=True)
    os.chown(made.path / "home/trainer", TRAINER, TRAINER)
    made.run("python3", "-m", "venv", "/venv")
    # The page's second line, because there is no package index.
    assert "pip install build/wheel/rankd-*.whl" in (ROOT / "docs/howto/install.md").read_text()
    made.run("sh", "-c", "pip install --quiet --no-index --find-links /wheels /wheels/rankd-*.whl")
    yield made
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=True)


def test_there_is_nothing_else(root):
    assert root.run("sh", "-c", "command -v gcc cc clang make || ls /usr/include/stdio.h 2>/dev/null; true") == ""
    for name in ("rankd", "rankctl", "librankd.so.0"):
        told = root.run("sh", "-c", f"ldd /venv/lib/python3*/site-packages/rankd/_bin/{name}")
        assert "not found" not in told and "libc.so.6" in told


def test_it_trains_and_starts_a_daemon(root):
    told = root.run("sh", "-c", "python - && rankctl banks && python -m rankd status && python -m rankd stop", user=TRAINER,
                    script=TRAIN)
    assert "rankd: started the daemon of this user" in told and re.search(r"loss 0\.\d+ -> 0\.\d+", told), told
    assert f"unix:/tmp/rankd-{TRAINER}/rankd.sock 32" in told and "run " in told and "ended" in told, told


def test_the_daemon_keeps_its_banks(root):
    """In the home of the user that made them, for the next daemon."""
    ask = "import rankd; print(rankd.connect().banks.get('run').items)"
    assert root.run("python", "-c", ask, user=TRAINER).strip() == "32"


def test_the_commands_work(root):
    told = root.run("python", "-m", "rankd", "doctor", user=TRAINER)
    assert f"rankd {VERSION}" in told and "FAIL" not in told and "client uses" in told, told
    assert root.run("rankd", "--version").strip() == f"rankd {VERSION}"
    assert root.run("rankctl", "--version").strip() == f"rankctl {VERSION}"
    assert "requests/s" in root.run("python", "-m", "rankd", "bench", "--duration", "0.3", user=TRAINER)


def test_a_daemon_of_it_serves_http(root):
    """python -m rankd serve, and the Python client over HTTP."""
    script = """
import subprocess, sys, rankd
daemon = subprocess.Popen([sys.executable, "-m", "rankd", "serve", "--http", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
url = daemon.stdout.readline().split()[-1]
print(rankd.connect(url).loss("ap", [[0.9, 0.8, 0.7, 0.6]], [[0, 1, 0, 1]], margin=0.0).loss)
daemon.terminate()
print(daemon.wait())
"""
    assert root.run("python", "-", user=TRAINER, script=script).split()[:2] == ["0.5", "0"]


def test_the_source_distribution_builds_here_and_gives_the_same_programs(tmp_path):
    """On this machine, which has the compiler: by pip, in a venv without our sources on its
    path."""
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--system-site-packages", tmp_path / "venv"], check=True)
    subprocess.run([tmp_path / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", SDIST], check=True,
                   timeout=900)
    environment = {"PATH": f"{tmp_path}/venv/bin:/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run([tmp_path / "venv/bin/python", "-c", """
import rankd
with rankd.local() as client:
    print(client.loss("ap", [[0.9, 0.8, 0.7, 0.6]], [[0, 1, 0, 1]], margin=0.0).loss)"""], env=environment, cwd=tmp_path,
                          capture_output=True, text=True, timeout=120)
    assert done.stdout == "0.5\n", done
