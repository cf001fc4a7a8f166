# SPDX-License-Identifier: Apache-2.0
"""rankctl's control commands give the same over the daemon's socket as over HTTP."""
import json
import os
import subprocess
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("RANKD_BUILD", Path(__file__).parents[2] / "build")).resolve()


def rankctl(*arguments, url=None):
    env = {k: v for k, v in os.environ.items() if not k.startswith("RANKD_")} | ({"RANKD_URL": url} if url else {})
    return subprocess.run([BUILD / "rankctl", *map(str, arguments)], env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def both(make_daemon, tmp_path):
    """A daemon with a bank, and the ways to it: over HTTP, and over its socket as each of three can
    name it."""
    daemon = make_daemon("--socket", tmp_path / "s", "--data", tmp_path / "data")
    assert rankctl("banks", "create", "b", json.dumps({"kind": "embeddings", "dim": 4, "capacity": 8}), "--socket",
                   tmp_path / "s").returncode == 0
    return daemon, {"http": ([], daemon.url), "option": (["--socket", tmp_path / "s"], None),
                    "url": (["--url", f"unix:{tmp_path}/s"], "http://127.0.0.1:1"),
                    "variable": ([], f"unix://{tmp_path}/s?arena=1M&spin_us=5")}


@pytest.mark.parametrize("command", [["banks"], ["banks", "show", "b"], ["checkpoint", "list", "b"], ["banks", "--json"]])
def test_what_is_shown_is_the_same(both, command):
    _, ways = both
    shown = {name: rankctl(*command, *where, url=url) for name, (where, url) in ways.items()}
    assert all(done.returncode == 0 for done in shown.values()), shown
    assert len({done.stdout for done in shown.values()}) == 1


def test_what_changes_things_does(both):
    daemon, ways = both
    where, _ = ways["option"]
    for arguments in (["checkpoint", "create", "b", "t"], ["checkpoint", "restore", "b", "t"], ["checkpoint", "delete", "b", "t"],
                      ["banks", "clear", "b"], ["banks", "delete", "b"]):
        done = rankctl(*arguments, *where)
        assert done.returncode == 0, done
    assert "no banks" in rankctl("banks", url=daemon.url).stdout


def test_the_daemons_sentence_comes_through(both):
    _, ways = both
    for where, url in ways.values():
        done = rankctl("banks", "show", "none", *where, url=url)
        assert done.returncode == 1 and done.stderr.startswith("rankctl: ") and "none" in done.stderr, done


def test_status_names_the_socket(both, tmp_path):
    done = rankctl("status", "--once", "--interval", "0.1", "--socket", tmp_path / "s")
    assert done.returncode == 0 and f"rankd at unix:{tmp_path}/s, up for" in done.stdout and "1 ring clients" in done.stdout, done


def test_nobody_there_is_one_sentence(tmp_path):
    done = rankctl("banks", "--socket", tmp_path / "none")
    assert done.returncode == 1
    assert done.stderr == f"rankctl: no connection to unix:{tmp_path}/none: No such file or directory; --socket says where rankd listens\n"


def test_doctor_looks_at_a_socket_in_the_url(both, tmp_path):
    done = rankctl("doctor", url=f"unix:{tmp_path}/s")
    assert done.returncode == 0 and f"{tmp_path}/s can be reached" in done.stdout and "port" not in done.stdout, done
