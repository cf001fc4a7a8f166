# SPDX-License-Identifier: Apache-2.0
"""Man pages, completion, example configuration, reference, unit: generated from the tables, and
usable."""
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
PAGES = BUILD / "pages"


def run(*command, **more):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60, **more)


def options():
    return re.findall(r"RK_OPT_\w+\(\w+,\s*\"([a-z-]+)\"", (ROOT / "server/config/config.def").read_text())


@pytest.mark.parametrize("page", ["configuration.md", "tuning.md", "parameters.md", "metrics.md", "routes.md", "rankctl.md",
                                  "models.md"])
def test_the_reference_in_docs_is_what_the_tables_say(page):
    assert run(BUILD / "gen", page).stdout == (ROOT / "docs/reference" / page).read_text(), "run `make reference`"


@pytest.mark.parametrize("page", ["proto/openapi.yaml", "clients/python/rankd/_names.py"])
def test_names_in_other_languages_are_those_of_the_tables(page):
    assert run(BUILD / "gen", Path(page).name, cwd=ROOT).stdout == (ROOT / page).read_text(), "run `make reference`"


@pytest.mark.parametrize("page", ["rankd.8", "rankd.conf.5", "rankctl.1"])
def test_a_man_page_formats_without_a_warning(page):
    done = run("groff", "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=100n", PAGES / page)
    assert done.returncode == 0 and done.stderr == "" and "NAME" in done.stdout


def test_the_man_pages_tell_of_every_option():
    text = (PAGES / "rankd.8").read_text().replace("\\-", "-")
    conf = (PAGES / "rankd.conf.5").read_text().replace("\\-", "-")
    assert len(options()) > 20
    for name in options():
        assert f".B --{name}" in text and f".B {name}" in conf
    flags = re.findall(r"^CTL_OPTION\(\w+, \"([a-z-]+)\"", (ROOT / "clients/ctl/command.def").read_text(), re.M)
    page = (PAGES / "rankctl.1").read_text().replace("\\-", "-")
    assert flags and all(f"--{flag}" in page for flag in flags)


def test_the_example_configuration_is_accepted_with_every_line_in_use(tmp_path):
    example = (PAGES / "rankd.conf").read_text()
    (tmp_path / "as-it-is").write_text(example)
    (tmp_path / "all").write_text(re.sub(r"^#([a-z-]+ =)", r"\1", example, flags=re.M))
    printed = [run(BUILD / "rankd", "--config", tmp_path / name, "--print-config") for name in ("as-it-is", "all")]
    assert all(p.returncode == 0 for p in printed), printed[1].stderr
    assert printed[0].stdout == printed[1].stdout == run(BUILD / "rankd", "--print-config").stdout


def complete(script, *words):
    text = f'source {PAGES / script}; COMP_WORDS=({" ".join(words)} ""); COMP_CWORD={len(words)}; ' \
           f'_{words[0]}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = run("bash", "-c", text)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bash_completes_commands_options_and_words():
    assert {"status", "banks", "checkpoint", "loss", "bench", "doctor"} <= set(complete("rankctl.bash", "rankctl"))
    assert "--lists" in complete("rankctl.bash", "rankctl", "bench") and "--lists" not in complete("rankctl.bash", "rankctl",
        "status")
    assert complete("rankd.bash", "rankd", "--io") == ["auto", "uring", "epoll"]
    assert {f"--{name}" for name in options()} <= set(complete("rankd.bash", "rankd"))


def test_every_command_has_help():
    for command in complete("rankctl.bash", "rankctl"):
        if not command.startswith("-"):
            done = run(BUILD / "rankctl", command, "--help")
            assert done.returncode == 0 and f"usage: rankctl {command}" in done.stdout


def unit(tmp_path):
    text = (ROOT / "deploy/systemd/rankd.service").read_text().replace("/usr/bin/rankd", str(BUILD / "rankd"))
    path = tmp_path / "rankd.service"
    path.write_text(text.replace("Documentation=man:rankd(8)\n", ""))
    return path


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    done = run("systemd-analyze", "verify", unit(tmp_path))
    assert done.returncode == 0 and "rankd.service" not in done.stdout + done.stderr, done.stderr


def test_the_service_is_exposed_less_than_2_of_10(tmp_path):
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit(tmp_path))
    assert done.returncode == 0, done.stdout[-300:]


def test_the_service_manager_is_told_when_it_is_ready_and_when_it_stops(make_daemon, tmp_path):
    for address in (str(tmp_path / "notify"), f"\0rankd-test-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address)
            manager.settimeout(20)
            daemon = make_daemon(env={"NOTIFY_SOCKET": address.replace("\0", "@")})
            assert manager.recv(100) == b"READY=1"
            assert daemon.stop() == 0
            assert manager.recv(100) == b"STOPPING=1"


def test_health_tells_of_a_daemon_that_is_ready_one_that_hangs_and_none(make_daemon):
    daemon = make_daemon()
    ask = [BUILD / "rankd", "--http", f"127.0.0.1:{daemon.port}", "--health"]
    assert run(*ask).returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = run(BUILD / "rankd", "--http", f"127.0.0.1:{silent.getsockname()[1]}", "--health")
        assert done.returncode != 0 and "does not answer" in done.stderr
    daemon.stop()
    done = run(*ask)
    assert done.returncode != 0 and "no daemon answers" in done.stderr


def test_health_asks_the_socket_where_http_is_off(tmp_path):
    done = run(BUILD / "rankd", "--http", "off", "--socket", tmp_path / "s", "--health")
    assert done.returncode != 0 and "no daemon answers" in done.stderr
