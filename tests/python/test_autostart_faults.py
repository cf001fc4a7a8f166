# SPDX-License-Identifier: Apache-2.0
"""Obstacles to a daemon of the user's own: each gives one sentence, or a daemon without that
feature."""
import os
import shutil
import subprocess
import time

import pytest
from own_daemon import LOSS, PID, Surroundings
from support import BUILD, ROOT

VERSION = (ROOT / "clients/python/rankd/VERSION").read_text().strip()
OTHER = 65534


@pytest.fixture
def here(tmp_path):
    surroundings = Surroundings(tmp_path)
    yield surroundings
    surroundings.end()


def refused(here, code=LOSS, **variables):
    """The sentence of the exception that the code ends with."""
    _, said = here.run(code, status=1, **variables)
    last = said.splitlines()[-1]
    assert last.startswith("rankd.errors.CannotStart: "), said
    return last


def test_a_home_that_cant_be_written_leaves_banks_in_memory(here):
    out, said = here.run(f"print({LOSS}, rankd.connect().banks.create('b', dim=2, capacity=4).name)", XDG_STATE_HOME="",
                         HOME="/proc/home")
    assert out == "0.5 b" and said.count("\n") == 0
    assert said.startswith("rankd: banks are kept in memory only, because there is no folder for them: ")


def test_a_runtime_folder_that_cant_be_written_is_passed_over(here):
    assert here.run(f"print({LOSS}, rankd.home.find_home().folder)",
                    XDG_RUNTIME_DIR="/proc/run")[0].endswith(f"rankd-{os.geteuid()}")
    assert len(here.daemons()) == 1


def test_a_runtime_folder_with_a_long_name_is_passed_over(here):
    long = here.folder / ("r" * 120)
    long.mkdir(0o700)
    assert here.run(f"print({LOSS})", XDG_RUNTIME_DIR=str(long))[0] == "0.5"


@pytest.mark.parametrize("trick, word", [("open", "open to others (mode 777"), ("link", "not a folder of uid"),
                                         ("file", "File exists")])
def test_a_temporary_folder_that_somebody_else_may_have_made_is_refused(here, trick, word):
    if os.path.isdir(f"/run/user/{os.geteuid()}"):
        os.environ.pop("XDG_RUNTIME_DIR", None)
    place = here.folder / "tmp" / f"rankd-{os.geteuid()}"
    if trick == "open":
        place.mkdir()
        place.chmod(0o777)
    elif trick == "link":
        (here.folder / "elsewhere").mkdir(0o700)
        place.symlink_to(here.folder / "elsewhere")
    else:
        place.write_text("")
    code = f"rankd.home._USUAL = '/nonexistent'\n{LOSS}"
    sentence = refused(here, code, XDG_RUNTIME_DIR="")
    assert "there is no folder for a daemon of this user: " in sentence and word in sentence


def in_a_small_disk(here, script, place, **variables):
    """Runs Python where `place` is a file system of 64 KiB that is full."""
    full = f'mount -t tmpfs -o size=64k tmpfs "$0" && {{ head -c 1M /dev/zero > "$0/fill" 2>/dev/null; chmod 700 "$0"; exec "$@"; }}'
    done = subprocess.run(["unshare", "-rm", "sh", "-c", full, str(place), *here.command(script)], capture_output=True, text=True,
                          timeout=120, env=here.environment | variables)
    return done


def test_a_full_disk_is_told_in_one_sentence(here):
    done = in_a_small_disk(here, LOSS, here.folder / "state", RANKD_LINGER="200ms")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("rankd.errors.CannotStart: cannot write ") and "No space left on device" in last
    done = in_a_small_disk(here, f"print({LOSS})", here.folder / "state", RANKD_LINGER="200ms", RANKD_DATA="")
    assert done.stdout == "0.5\n", done
    here.wait_for_daemons(0)


def test_a_full_runtime_folder_does_not_matter(here):
    done = in_a_small_disk(here, f"print({LOSS})", here.folder / "run", RANKD_LINGER="200ms")
    assert done.stdout == "0.5\n", done
    here.wait_for_daemons(0)


def other_version(here, version):
    """A build and a package of another version."""
    build, package = here.folder / f"build-{version}", here.folder / f"package-{version}"
    build.mkdir()
    for name in ("rankd", "librankd.so.0"):
        content = (BUILD / name).read_bytes()
        assert VERSION.encode() in content and len(version) == len(VERSION)
        (build / name).write_bytes(content.replace(VERSION.encode(), version.encode()))
        (build / name).chmod(0o755)
    shutil.copytree(ROOT / "clients/python/rankd", package / "rankd", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "rankd/VERSION").write_text(version + "\n")
    return {"RANKD_BUILD": str(build), "PYTHONPATH": str(package)}


def test_an_idle_daemon_of_another_version_is_replaced(here):
    other = other_version(here, "9.8.7")
    first = here.run(f"{LOSS}\nprint({PID})", **other)[0]
    second = here.run(f"{LOSS}\nprint({PID})")[0]
    assert first != second and here.daemons() == [int(second)]


def test_a_daemon_of_another_version_that_is_in_use_is_left_alone(here):
    user = here.begin("c = rankd.connect()\nc.ready()\nprint('ready', flush=True)\ninput()\nc.metadata()",
                      **other_version(here, "9.8.7"))
    assert user.stdout.readline() == "ready\n"
    (pid,) = here.daemons()
    sentence = refused(here)
    assert f"(process {pid}) is rankd 9.8.7, this package is {VERSION}, and another client uses that daemon" in sentence
    assert here.run(f"print({LOSS})", RANKD_URL=f"unix:{here.socket}")[0] == "0.5"  # the sentence proposes this
    assert user.communicate("\n", timeout=60)[1] == "" and user.returncode == 0


def test_a_daemon_that_is_not_of_the_packages_version_is_not_started_over_and_over(here):
    other = other_version(here, "9.8.7")
    sentence = refused(here, RANKD_BUILD=other["RANKD_BUILD"])
    assert f"the daemon of this installation is rankd 9.8.7, and the package is {VERSION}" in sentence


def test_a_daemon_that_cant_start_says_why(here):
    assert '--data' not in refused(here, RANKD_WORKERS="many")
    assert "RANKD_LINGER is '60'; it may be a time such as" in refused(here, RANKD_LINGER="60")
    assert 'RANKD_WORKERS: workers was "many"' in refused(here, RANKD_WORKERS="many")


def test_two_runtime_folders_with_one_folder_of_banks(here, tmp_path):
    """As two jobs of a user on one host may have."""
    assert here.run(f"print({LOSS})")[0] == "0.5"
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    sentence = refused(here, XDG_RUNTIME_DIR=str(other))
    assert f"is in use by another rankd, most likely by a daemon of yours whose runtime folder is not {other}/rankd" in sentence
    assert "RANKD_URL=unix:FOLDER/rankd.sock" in sentence and "RANKD_DATA=FOLDER" in sentence and "RANKD_DATA=" in sentence
    for remedy in ({"RANKD_DATA": str(tmp_path / "banks")}, {"RANKD_DATA": ""}):
        code = f"print({LOSS})\nimport os, signal\nos.kill({PID}, signal.SIGTERM)"
        assert here.run(code, XDG_RUNTIME_DIR=str(other), **remedy)[0] == "0.5"


def test_a_lock_that_is_never_let_go_ends_in_a_sentence(here):
    holder = here.begin("import rankd.auto, time\nassert rankd.auto._try_lock(rankd.home.find_home())\nprint('locked', "
                        "flush=True)\ninput()")
    assert holder.stdout.readline() == "locked\n"
    sentence = refused(here, f"import rankd.auto\nrankd.auto._START_WITHIN = 0.5\n{LOSS}")
    assert "does not answer within 0.5 s" in sentence and "rankd.lock is held" in sentence
    holder.communicate("\n", timeout=60)


def test_an_installation_without_a_daemon_asks_where_one_used_to_be(here):
    (here.folder / "empty").mkdir()
    package = here.folder / "package"
    shutil.copytree(ROOT / "clients/python/rankd", package / "rankd", ignore=shutil.ignore_patterns("__pycache__"))
    _, said = here.run("rankd.connect(retry_for=0).metadata()", status=1, RANKD_BUILD=str(here.folder / "empty"),
                       PYTHONPATH=str(package), PATH="/usr/bin:/bin")
    assert "no connection to http://127.0.0.1:8080" in said


def test_a_system_daemon_that_refuses_this_user_is_passed_over(here, make_daemon):
    """By the mode of its socket, and by its list of users."""
    assert os.geteuid() == 0, "this test wants root: a daemon of another user is needed"
    for path in (here.folder, *here.folder.parents):
        if path.owner() == "root" and path.stat().st_mode & 0o055 != 0o055:
            path.chmod(0o755)
    for name in ("run", "state", "tmp", "home"):
        os.chown(here.folder / name, OTHER, OTHER)
    code = f"print({LOSS}, {PID})"
    for flags, word in (([], "Permission denied"), (["--ring-allow-uid", "12345"], f"uid {OTHER} may not use the ring")):
        system = make_daemon("--socket", here.folder / "system.sock", *flags)
        out, said = here.run(code, user=OTHER)
        assert said.startswith("rankd: the machine's daemon at ") and word in said and said.count("\n") == 0
        assert out.startswith("0.5") and here.daemons() == [int(out.split()[1])]
        system.kill()


def test_two_users_have_one_each(here):
    assert os.geteuid() == 0, "this test wants root: it needs two users"
    for path in (here.folder, *here.folder.parents):
        if path.owner() == "root" and path.stat().st_mode & 0o055 != 0o055:
            path.chmod(0o755)
    (here.folder / "tmp").chmod(0o1777)
    pids = {here.run(f"{LOSS}\nprint({PID})", user=user, XDG_RUNTIME_DIR="", XDG_STATE_HOME="/proc/none")[0]
            for user in (OTHER, 65533)}
    assert len(pids) == 2 and sorted(map(str, here.daemons())) == sorted(pids)
    for user in (OTHER, 65533):
        assert (here.folder / "tmp" / f"rankd-{user}").stat().st_uid == user


def test_a_stopped_system_daemon_does_not_block(here, make_daemon):
    """No process reads from its socket: it is skipped after five seconds, with one log line."""
    import signal

    system = make_daemon("--socket", here.folder / "system.sock")
    system.signal(signal.SIGSTOP)
    begun = time.monotonic()
    out, said = here.run(f"print({LOSS})")
    system.signal(signal.SIGCONT)
    assert out == "0.5" and "says nothing" in said and time.monotonic() - begun > 4
