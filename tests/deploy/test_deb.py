# SPDX-License-Identifier: Apache-2.0
"""The Debian packages on a bare Debian 12 that boots (machine.py): built, installed, used,
upgraded, removed, by the unchanged commands of docs/howto/deployment.md."""
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from base import debian_base
from machine import Machine
from page import documented
from shell import sh

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
WORK = BUILD / "check-deploy"
VERSION = (ROOT / "clients/python/rankd/VERSION").read_text().strip()
CONF = "/etc/rankd/rankd.conf"
URL = "http://127.0.0.1:8080"


INSTALL = documented("make deb")
REMOVE = documented("apt-get remove rankd")


@pytest.fixture(scope="module")
def packages():
    """name -> file of each package."""
    assert INSTALL[0] == "make deb"
    sh("make", "deb", f"BUILD={BUILD}", cwd=ROOT)
    return {path.name.split("_")[0]: path for path in (BUILD / "deb").glob("*.deb")}


@pytest.fixture(scope="module")
def machine(packages):
    """A booted machine with the package rankd; other packages that the tests install are fetched,
    but not installed."""
    bare = Machine(WORK / "machine", debian_base(WORK))
    try:
        folder = bare.path("/root/build/deb")
        folder.mkdir(parents=True)
        for path in packages.values():
            shutil.copy(path, folder)
        bare.before_boot("apt-get", "update")
        bare.before_boot("apt-get", "install", "-y", "--no-install-recommends", "systemd-sysv")
        bare.before_boot("sh", "-c", "apt-get install -y --no-install-recommends --download-only gcc libc6-dev pkg-config "
                                     "/root/build/deb/*.deb")
        bare.before_boot("sh", "-c", "apt-get install -y --download-only /root/build/deb/rankd_*.deb")
        bare.boot()
        for line in INSTALL[1:]:
            as_written(bare, line)
        yield bare
    finally:
        bare.remove()


def as_written(machine, line):
    """Runs a line of the page in root's home, which has the packages at the same paths as the
    repository, and answers yes once."""
    return machine("sh", "-c", f"cd /root && {line}", input="y\n").stdout


def installed(machine):
    return machine("dpkg-query", "-W", "-f", "${Status}", "rankd", check=False).stdout == "install ok installed"


def install(machine, file):
    """Installs without questions: an edited configuration is kept, which is the default answer."""
    machine("sh", "-c", f"apt-get install -y --allow-downgrades -o Dpkg::Options::=--force-confold {file}")


def ready(machine):
    end = time.monotonic() + 20
    while machine("rankd", "--health", check=False).returncode != 0:
        assert time.monotonic() < end, journal(machine)
        time.sleep(0.1)


def journal(machine):
    return machine("journalctl", "--unit=rankd", "--output=cat", "--no-pager").stdout


def main_pid(machine):
    return int(machine("systemctl", "show", "--property=MainPID", "--value", "rankd").stdout)


def fill_bank(machine, name):
    """Creates a bank with one batch of four; returns the daemon's description of it."""
    machine.curl("-X", "PUT", f"{URL}/v2/banks/{name}", "-d",
                 json.dumps({"kind": "embeddings", "dim": 2, "capacity": 64, "durability": "always"}))
    machine.curl(f"{URL}/v2/models/ap/infer", "-d", json.dumps({"parameters": {"bank": name}, "inputs": [
        {"name": "embeddings", "shape": [4, 2], "datatype": "FP32", "data": [1, 0, 0, 1, 1, 1, 2, 1]},
        {"name": "labels", "shape": [4], "datatype": "INT64", "data": [0, 0, 1, 1]}]}))
    assert bank(machine, name)[1] == 4
    return bank(machine, name)


def bank(machine, name):
    said = json.loads(machine.curl(f"{URL}/v2/banks/{name}"))
    return said["version"], said["items"]


def test_lintian_finds_no_error_and_nothing_to_warn_of(packages):
    done = sh("lintian", "--fail-on", "error,warning", "--allow-root", *packages.values())
    assert not re.search("^[EW]:", done.stdout, re.M), done.stdout


def test_the_daemon_s_package_names_the_library_that_it_contains(packages):
    version = sh("dpkg-query", "-W", "-f", "${source:Version}", "libmicrohttpd-dev").stdout
    assert sh("dpkg-deb", "-f", packages["rankd"], "Built-Using").stdout.strip() == f"libmicrohttpd (= {version})"


def test_the_service_runs_as_a_system_user_of_its_own(machine):
    name, _, uid, gid, _, home, shell = machine("getent", "passwd", "rankd").stdout.strip().split(":")
    assert 0 < int(uid) < 1000 and home == "/var/lib/rankd" and shell.endswith("nologin")
    status = machine("cat", f"/proc/{main_pid(machine)}/status").stdout
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}" in status and f"Gid:\t{gid}" in status and "CapEff:\t0000000000000000" in status
    assert machine("stat", "-c", "%U %a", "/var/lib/rankd").stdout.strip() == "rankd 750"
    assert machine("runuser", "-u", "rankd", "--", "rankd", "--version").stdout == f"rankd {VERSION}\n"


def test_the_configuration_that_is_packaged_answers_on_both_transports(machine):
    assert json.loads(machine.curl(f"{URL}/v2"))["name"] == "rankd"
    machine.path("/srv/scores.csv").write_text("0.9,0.8,0.7,0.6\n")
    machine.path("/srv/targets.csv").write_text("0,1,0,1\n")
    loss = ["runuser", "-u", "rankd", "--", "rankctl", "loss", "/srv/scores.csv", "/srv/targets.csv", "-p", "margin=0", "--json"]
    over = [machine(*loss, *where).stdout for where in ([], ["--socket", "/run/rankd/rankd.sock"])]
    assert json.loads(over[0])["loss"] == 0.5 and over[0] == over[1]


def test_the_service_is_ready_without_a_warning_and_with_io_uring(machine):
    said = journal(machine)
    assert "by io_uring" in said and "listening on http://127.0.0.1:8080" in said
    assert "level=warn" not in said and "level=error" not in said, said


def test_every_program_that_the_unit_names_is_there(machine):
    unit = machine("systemctl", "cat", "rankd").stdout
    programs = re.findall(r"^Exec\w+=[-@:+!]*(\S+)", unit, re.M)
    assert len(programs) >= 2
    for program in programs:
        machine("test", "-x", program)


def test_reload_makes_the_service_read_its_tokens_again(machine):
    machine("systemctl", "reload", "rankd")
    end = time.monotonic() + 10
    while "SIGHUP: tokens were read again" not in journal(machine):
        assert time.monotonic() < end, journal(machine)
        time.sleep(0.1)


def test_systemd_finds_nothing_wrong_with_the_unit_where_it_lies(machine):
    done = machine("systemd-analyze", "verify", "--man=no", "/lib/systemd/system/rankd.service")
    assert done.stdout + done.stderr == ""
    machine("systemd-analyze", "security", "--threshold=20", "rankd")


def test_the_man_pages_and_the_completion_are_there(machine):
    for page in ("man8/rankd.8", "man5/rankd.conf.5", "man1/rankctl.1"):
        assert ".SH NAME" in gzip.decompress(machine.path(f"/usr/share/man/{page}.gz").read_bytes()).decode()
    words = 'source /usr/share/bash-completion/completions/rankctl; COMP_WORDS=(rankctl ""); COMP_CWORD=1; _rankctl; echo "${COMPREPLY[@]}"'
    assert {"status", "banks", "doctor"} <= set(machine("bash", "-c", words).stdout.split())


def test_a_service_that_is_killed_is_back_with_its_banks(machine):
    before = fill_bank(machine, "killed")
    pid = main_pid(machine)
    assert pid > 1
    machine("sh", "-c", f"kill -KILL {pid}")
    end = time.monotonic() + 20
    while main_pid(machine) in (0, pid):
        assert time.monotonic() < end, journal(machine)
        time.sleep(0.1)
    ready(machine)
    assert bank(machine, "killed") == before


def test_a_program_in_c_is_built_with_what_pkg_config_says(machine):
    machine("sh", "-c", "apt-get install -y --no-install-recommends gcc libc6-dev pkg-config /root/build/deb/librankd*.deb")
    shutil.copy(ROOT / "clients/c/examples/step.c", machine.path("/srv/step.c"))
    for name, libraries in {"shared": "$(pkg-config --libs librankd)",
                            "static": "-l:librankd.a $(pkg-config --static --libs-only-l librankd | sed s/-lrankd//)"}.items():
        machine("sh", "-c", f"cd /srv && gcc step.c $(pkg-config --cflags librankd) {libraries} -o {name}")
        for place in (URL, "unix:/run/rankd/rankd.sock"):
            assert "0.125 -0.125 0.125 -0.125" in machine("runuser", "-u", "rankd", "--", f"/srv/{name}", place).stdout
    assert "librankd.so.0 => /" in machine("ldd", "/srv/shared").stdout
    assert "librankd" not in machine("ldd", "/srv/static").stdout
    for page in ("librankd", "rankd_submit", "rankd_wait"):  # the last is a link
        assert machine("test", "-e", f"/usr/share/man/man3/{page}.3.gz").returncode == 0


def next_version(packages, folder):
    """The package as a later version, whose configuration file has one more line."""
    sh("dpkg-deb", "-R", packages["rankd"], folder / "tree")
    control, conf = folder / "tree/DEBIAN/control", folder / ("tree" + CONF)
    control.write_text(re.sub("^Version: .*", "Version: 0.1.1", control.read_text(), flags=re.M))
    conf.write_text(conf.read_text() + "# A line of the next version.\n")
    sh("dpkg-deb", "--root-owner-group", "-b", folder / "tree", folder / "rankd_0.1.1.deb")
    return folder / "rankd_0.1.1.deb"


def test_an_edited_configuration_and_the_banks_survive_an_upgrade(machine, packages, tmp_path):
    assert CONF in machine("dpkg-query", "-W", "-f", "${Conffiles}", "rankd").stdout
    before = fill_bank(machine, "upgraded")
    conf = machine.path(CONF)
    conf.write_text(conf.read_text() + "workers = 3\n")
    edited, pid = conf.read_text(), main_pid(machine)
    shutil.copy(next_version(packages, tmp_path), machine.path("/root/next.deb"))
    install(machine, "/root/next.deb")
    assert machine("dpkg-query", "-W", "-f", "${Version}", "rankd").stdout == "0.1.1"
    assert conf.read_text() == edited and "A line of the next version." in machine.path(CONF + ".dpkg-dist").read_text()
    ready(machine)
    assert main_pid(machine) not in (0, pid) and bank(machine, "upgraded") == before
    assert re.search(r"^rankd_workers 3$", machine.curl(f"{URL}/metrics"), re.M)


def test_removal_keeps_configuration_and_banks_purge_the_banks_alone(machine):
    before = fill_bank(machine, "kept")
    conf = machine.path(CONF)
    remove, purge, delete = REMOVE
    as_written(machine, remove)
    assert not installed(machine) and not machine.path("/usr/bin/rankd").exists() and conf.exists()
    assert machine("systemctl", "is-active", "rankd", check=False).returncode != 0
    again(machine)
    assert bank(machine, "kept") == before
    as_written(machine, purge)
    assert not installed(machine) and not conf.parent.exists()
    again(machine)
    assert bank(machine, "kept") == before
    as_written(machine, purge)
    as_written(machine, delete)
    assert not machine.path("/var/lib/rankd").exists()


def again(machine):
    install(machine, "/root/build/deb/rankd_*.deb")
    ready(machine)


def test_nothing_runs_on_after_a_run_that_was_killed(tmp_path):
    """The machine and the engine use such a leash."""
    seconds = f"987.{os.getpid()}"
    script = "import sys, time; sys.path.insert(0, sys.argv[1]); from leash import Leash\n" \
             "Leash('sh', '-c', f'sleep {sys.argv[2]} & sleep {sys.argv[2]}', log='/dev/null', spaces=['net'])\n" \
             "print('on', flush=True); time.sleep(600)"
    run = subprocess.Popen([sys.executable, "-c", script, Path(__file__).parent, seconds], stdout=subprocess.PIPE)
    assert run.stdout.readline() == b"on\n"
    wait_for(lambda: sleepers(seconds) == 2)
    run.kill()
    run.wait()
    run.stdout.close()
    wait_for(lambda: sleepers(seconds) == 0)


def sleepers(seconds):
    lines = sh("ps", "-eo", "args").stdout.splitlines()
    return sum(line == f"sleep {seconds}" for line in lines)


def wait_for(condition, patience=20):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
