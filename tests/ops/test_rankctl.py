# SPDX-License-Identifier: Apache-2.0
"""rankctl against a real daemon: what it shows, what it refuses, and that its numbers are the
daemon's."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
VERSION = (ROOT / "clients/python/rankd/VERSION").read_text().strip()


def rankctl(*arguments, url=None, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("RANKD_")} | ({"RANKD_URL": url} if url else {})
    return subprocess.run([BUILD / "rankctl", *map(str, arguments)], env=env, capture_output=True, text=True, timeout=60, **more)


@pytest.fixture
def example(tmp_path):
    np.save(tmp_path / "scores.npy", np.array([[0.9, 0.8, 0.7, 0.6]], np.float32))
    np.save(tmp_path / "targets.npy", np.array([[0, 1, 0, 1]], np.int8))
    (tmp_path / "scores.csv").write_text("a;b;c;d\n0.9;0.8;0.7;0.6\n")
    (tmp_path / "targets.csv").write_text("0 1 0 1\n")
    return tmp_path


@pytest.mark.parametrize("ending", ["npy", "csv"])
def test_loss_of_two_files_is_the_worked_example(daemon, example, ending):
    done = rankctl("loss", example / f"scores.{ending}", example / f"targets.{ending}", "-p", "margin=0", "--json",
                   "--gradient", example / "gradient.npy", url=daemon.url)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["loss"] == 0.5 and said["list_loss"] == [0.5] and said["gradient_nonzero"] == 4
    gradient = np.load(example / "gradient.npy")
    assert gradient.dtype == np.float32 and gradient.tolist() == [[0.25, -0.25, 0.25, -0.25]]
    shown = rankctl("loss", example / f"scores.{ending}", example / f"targets.{ending}", "-p", "margin=0", url=daemon.url)
    assert shown.returncode == 0 and "loss              0.5" in shown.stdout


def test_loss_over_shared_memory_is_the_same(make_daemon, example, tmp_path):
    daemon = make_daemon("--socket", tmp_path / "s")
    files = [example / "scores.npy", example / "targets.npy"]
    over = [rankctl("loss", *files, "--json", *where, url=daemon.url) for where in ([], ["--socket", tmp_path / "s"])]
    assert over[0].returncode == 0 and over[1].returncode == 0, over[1].stderr
    assert over[0].stdout == over[1].stdout


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.float32])
def test_every_float_type_of_numpy_is_taken(daemon, tmp_path, dtype):
    np.save(tmp_path / "s.npy", np.array([4, 3, 2, 1], dtype))
    np.save(tmp_path / "t.npy", np.array([False, True, False, True]))
    done = rankctl("loss", tmp_path / "s.npy", tmp_path / "t.npy", "--json", url=daemon.url)
    assert done.returncode == 0 and json.loads(done.stdout)["loss"] == 0.5, done.stderr


def npy(header, data=b""):
    text = header.ljust(118).encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


BAD = {
    "empty": (b"", "is not an .npy file"),
    "magic": (b"PK\x03\x04 an archive", "is not an .npy file"),
    "cut": (b"\x93NUMPY\x01\x00\xff\xff{", "ends within its header"),
    "type": (npy("{'descr': '>f4', 'fortran_order': False, 'shape': (1, 2), }", b"12345678"), "elements of type '>f4'"),
    "object": (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 2), }"), "elements of type '|O'"),
    "fortran": (npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", b"1" * 16), "Fortran order"),
    "lie": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000, 1000), }", b"1234"), "shorter than its header says"),
    "huge": (npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904), }"),
             "more bytes"),
    "three": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1), }", b"1234"), "one or two dimensions"),
    "negative": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }", b"1234"), "one or two dimensions"),
    "scalar": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", b"1234"), "single number"),
    "over-read": (b"\x93NUMPY\x01\x00\x09\x00{'descr':", "elements of type"),
    "nothing": (npy("{}"), "elements of type"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_npy_file_is_refused_with_the_reason(example, name):
    content, reason = BAD[name]
    (example / "bad.npy").write_bytes(content)
    done = rankctl("loss", example / "bad.npy", example / "targets.npy")
    assert done.returncode == 1 and reason in done.stderr and "bad.npy" in done.stderr, done.stderr


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0,)])
def test_a_file_without_items_has_a_loss_of_0(make_daemon, tmp_path, shape):
    daemon = make_daemon("--socket", tmp_path / "s")
    np.save(tmp_path / "scores.npy", np.zeros(shape, np.float32))
    np.save(tmp_path / "targets.npy", np.zeros(shape, np.int8))
    for where in ([], ["--socket", tmp_path / "s"]):
        done = rankctl("loss", tmp_path / "scores.npy", tmp_path / "targets.npy", "--gradient", tmp_path / "g.npy", "--json",
                       *where, url=daemon.url)
        assert done.returncode == 0, done.stderr
        said, lists = json.loads(done.stdout), shape[0] if len(shape) == 2 else 1
        assert (said["loss"], said["lists"], said["lists_skipped"], said["list_loss"]) == (0, lists, lists, [None] * lists)
        assert np.load(tmp_path / "g.npy").shape == (shape if len(shape) == 2 else (1, 0))
def test_a_byte_order_mark_and_quotes_are_no_heading(daemon, example):
    (example / "marked.csv").write_bytes(b'\xef\xbb\xbf"0.9","0.8","0.7","0.6"\r\n')
    done = rankctl("loss", example / "marked.csv", example / "targets.csv", "-p", "margin=0", "--json", url=daemon.url)
    assert done.returncode == 0 and json.loads(done.stdout)["loss"] == 0.5, done.stderr


def test_a_folder_is_no_file(example):
    done = rankctl("loss", example, example / "targets.csv")
    assert done.returncode == 1 and done.stderr == f"rankctl: {example}: Is a directory\n"


def test_a_list_without_a_relevant_item_is_shown_as_such(daemon, example):
    (example / "two.csv").write_text("0.9 0.8 0.7 0.6\n0.9 0.8 0.7 0.6\n")
    (example / "none.csv").write_text("0 1 0 1\n0 0 0 0\n")
    done = rankctl("loss", example / "two.csv", example / "none.csv", url=daemon.url)
    assert done.returncode == 0 and "  list 1          -, skipped: no relevant item, or a weight of 0\n" in done.stdout and "nan" not in done.stdout


@pytest.mark.parametrize("content, reason", [("1,2\n3\n", "line 2 has 1 numbers"), ("1,x\n", "'x"), ("", "holds no numbers"),
                                             ("a,b\nc,d\n", "line 2, column 1: 'c'"),
                                             (".9,,.8\n", "line 1, column 2 is empty")])
def test_a_damaged_text_file_names_the_line(example, content, reason):
    (example / "bad.csv").write_text(content)
    done = rankctl("loss", example / "bad.csv", example / "targets.csv")
    assert done.returncode == 1 and reason in done.stderr, done.stderr


def test_the_daemons_own_sentence_is_shown(daemon, example):
    done = rankctl("loss", example / "scores.npy", example / "targets.npy", "-p", "lamda=1", url=daemon.url)
    assert done.returncode == 1 and "lamda" in done.stderr


@pytest.mark.parametrize("arguments, reason", [
    (["fly"], "'fly' is not a command; it may be status, banks, checkpoint, loss, bench or doctor"),
    (["--once", "status"], "with options after it"), (["help", "fly"], "'fly' is not a command"),
    (["status", "--lists", "3"], "'--lists' is not an option of status"),
    (["bench", "--lists"], "--lists needs a value"), (["bench", "--lists", "0"], "--lists is '0'"),
    (["bench", "--duration=x"], "--duration is 'x'"), (["status", "--once=1"], "--once takes no value"),
    (["loss", "a"], "two files"), (["banks", "eat", "x"], "'eat' is not a verb of banks; it may be list, show, create, clear or "
                                                          "delete"), (["banks", "show", "../x"], "a name is"),
    (["banks", "show"], "banks show needs NAME; it got 0 words"), (["banks", "create", "x"], "needs NAME CONFIGURATION; it got 1 "
                                                                                             "word"),
    (["checkpoint"], "list, create, restore or delete"), (["checkpoint", "create", "x"], "checkpoint create needs BANK TAG; it "
                                                                                         "got 1 word"),
    (["checkpoint", "create", "x", "a b"], "the tag is 'a b'"), (["bench", "--connections", "1.5"], "may be a whole number from "
                                                                                                    "1 to 256"),
    (["bench", "--items", "5", "--relevant", "6"], "--relevant is '6'; it may be a whole number from 0 to 5"),
    (["banks", "--url", "localhost:1"], "is 'localhost:1'; it must be http://HOST:PORT"),
    (["bench", "--url", "localhost:1"], "is 'localhost:1'; it may be unix:PATH, http://HOST:PORT"),
    (["loss", "-p", "a"], "two files"), (["doctor", "x"], "no arguments")])
def test_a_wrong_command_line_says_what_would_be_right(arguments, reason):
    done = rankctl(*arguments)
    assert done.returncode == 2 and reason in done.stderr, done.stderr


def test_nobody_there_is_one_sentence_and_exit_1():
    for command in (["status", "--once"], ["banks"], ["bench", "--duration", "0.1"]):
        done = rankctl(*command, "--url", "http://127.0.0.1:1")
        assert done.returncode == 1 and done.stderr.startswith("rankctl: ") and "Traceback" not in done.stderr


@pytest.mark.parametrize("transport", ["http", "ring"])
def test_bench_counts_what_the_daemon_counts(make_daemon, tmp_path, transport):
    daemon = make_daemon("--socket", tmp_path / "s")
    where = ["--socket", tmp_path / "s"] if transport == "ring" else []
    done = rankctl("bench", "--duration", "0.5", "--lists", "4", "--items", "100", "--connections", "2", "--json", *where,
                   url=daemon.url)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    metrics = subprocess.run(["curl", "-s", f"{daemon.url}/metrics"], capture_output=True, text=True, timeout=30).stdout
    name = f'rankd_requests_total{{model="ap",transport="{"ring" if transport == "ring" else "http_binary"}"}} '
    counted = next(int(line[len(name):]) for line in metrics.splitlines() if line.startswith(name))
    assert counted == said["requests"] > 0 and said["failed"] == 0
    assert 0 < said["p50_seconds"] <= said["p99_seconds"]
    shown = rankctl("bench", "--duration", "0.2", "--lists", "1", "--items", "10", "--relevant", "2", *where, url=daemon.url)
    assert shown.returncode == 0 and "#" in shown.stdout and "p99" in shown.stdout


def test_bench_tells_of_failures_at_once_and_shows_no_latency_of_nothing(daemon):
    done = rankctl("bench", "--duration", "3600", "-p", "lambda=-1", url=daemon.url)  # far longer than the test waits
    assert done.returncode == 1 and "lambda" in done.stderr and done.stdout == ""


class Terminal:
    """rankctl with its output on a terminal."""

    def __init__(self, *arguments, url):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([BUILD / "rankctl", *map(str, arguments), "--url", url], stdin=slave, stdout=slave,
                                        stderr=slave, start_new_session=True)
        os.close(slave)
        self.shown = ""

    def wait_for(self, text):
        end = time.monotonic() + 30
        while text not in self.shown:
            if select.select([self.master], [], [], 0.1)[0]:
                self.read()
            assert time.monotonic() < end, self.shown
        at = self.shown.index(text)
        self.shown = self.shown[at + len(text):]

    def read(self):
        try:
            self.shown += os.read(self.master, 65536).decode()
            return True
        except OSError:  # the other end is closed
            return False

    def interrupt(self):
        """Sends Ctrl-C. Returns the exit status."""
        self.process.send_signal(signal.SIGINT)
        while self.read():
            pass
        os.close(self.master)
        return self.process.wait(30)


def test_bench_shows_its_progress_and_its_figures_also_when_it_is_interrupted(daemon):
    terminal = Terminal("bench", "--duration", "60", "--lists", "2", "--items", "10", "--relevant", "1", url=daemon.url)
    terminal.wait_for("[#")
    terminal.wait_for(" requests/s")
    assert terminal.interrupt() == 0
    assert f"ap: 2 lists of 10 items, 1 of them relevant; 1 connection over {daemon.url}" in terminal.shown
    assert " 0 failed" in terminal.shown and "p99" in terminal.shown


def test_live_status_outlives_a_restart_of_the_daemon(make_daemon):
    daemon = make_daemon()
    terminal = Terminal("status", "--interval", "0.2", url=daemon.url)
    for _ in range(2):
        terminal.wait_for(f"\033[H\033[2Jrankd at {daemon.url}, up for ")
    daemon.http = f"127.0.0.1:{daemon.port}"
    daemon.stop()
    terminal.wait_for("Couldn't connect to server; --url says where rankd listens")
    daemon.start()
    terminal.wait_for("requests/s")
    assert terminal.interrupt() == 0


def test_status_shows_the_load_of_its_interval(daemon):
    load = subprocess.Popen([BUILD / "rankctl", "bench", "--duration", "3", "--url", daemon.url], stdout=subprocess.DEVNULL)
    try:
        done = rankctl("status", "--once", "--interval", "1", url=daemon.url)
    finally:
        load.wait(30)
    assert done.returncode == 0, done.stderr
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("ap "))
    assert float(row[1].rstrip("kM")) > 0
    assert any(line.startswith("compute") and "s" in line for line in done.stdout.splitlines())
    transports = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.startswith(("http_", "ring"))}
    assert float(transports["http_binary"][0].rstrip("kM")) > 0
    assert transports["ring"] == ["0", "in", "place", "in", "place"], "whole numbers read as whole numbers"


def test_banks_and_checkpoints_are_tables_that_hold_the_longest_names(make_daemon, tmp_path):
    daemon = make_daemon("--data", tmp_path / "data")
    assert "no banks" in rankctl("banks", url=daemon.url).stdout
    names = ["short", "l" * 64]
    for name in names:
        done = rankctl("banks", "create", name, '{"kind":"scores","lists":3,"capacity":1000}', url=daemon.url)
        assert done.returncode == 0 and done.stdout == "created\n", done.stderr
    lines = rankctl("banks", url=daemon.url).stdout.splitlines()
    assert lines[0].split() == ["bank", "kind", "items", "capacity", "dim/lists", "version", "bytes", "durability", "state"]
    assert [line.split() for line in lines[1:]] == [[name, "scores", "0", "1000", "3", "0", "512", "KiB", "interval", "ready"]
                                                    for name in names]
    assert len({line.index("scores") for line in lines[1:]}) == 1
    status = rankctl("status", "--once", "--interval", "0.1", url=daemon.url).stdout
    assert all(re.search(rf"^{name} +0 +1000 .* ready$", status, re.M) for name in names)
    assert "no checkpoints" in rankctl("checkpoint", "list", "short", url=daemon.url).stdout
    assert rankctl("checkpoint", "create", "short", "epoch-1", url=daemon.url).stdout == "taken\n"
    lines = rankctl("checkpoint", "list", "short", url=daemon.url).stdout.splitlines()
    assert lines[0].split() == ["tag", "items", "version", "taken"] and lines[1].split()[:3] == ["epoch-1", "0", "0"]
    assert json.loads(rankctl("checkpoint", "list", "short", "--json", url=daemon.url).stdout)[0]["tag"] == "epoch-1"
    assert rankctl("checkpoint", "restore", "short", "epoch-1", url=daemon.url).stdout == "restored\n"
    assert rankctl("checkpoint", "delete", "short", "epoch-1", url=daemon.url).stdout == "deleted\n"
    done = rankctl("checkpoint", "restore", "short", "epoch-1", url=daemon.url)
    assert done.returncode == 1 and done.stderr == 'rankctl: bank "short" has no checkpoint "epoch-1"\n'


def test_help_is_there_for_all_and_for_each():
    assert "Exit status: 0 done; 1 the daemon or the machine reported an error; 2 the command line is wrong." in rankctl("--help").stdout
    assert rankctl("help", "bench").stdout == rankctl("bench", "--help").stdout
    assert rankctl("status", "--help").stdout.startswith("usage: rankctl status [options]\n")
    done = rankctl()
    assert done.returncode == 2 and done.stdout.startswith("usage:")


def test_doctor_finds_this_machine_fit_and_the_daemon(daemon):
    done = rankctl("doctor", url=daemon.url)
    assert done.returncode == 0 and f"rankd {VERSION} answers" in done.stdout and " 0 broken" in done.stdout, done.stdout


def test_doctor_says_what_to_do_about_what_is_broken(daemon, tmp_path):
    done = rankctl("doctor", "--socket", tmp_path / "none", "--data", tmp_path / "neither", url=daemon.url)
    assert done.returncode == 1 and "start rankd with --socket" in done.stdout and "install -d" in done.stdout


def test_doctor_recognises_a_stranger_on_the_port(tmp_path):
    import http.server
    import threading
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        done = rankctl("doctor", "--url", f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 1 and "another program answers" in done.stdout


def test_doctor_sees_that_io_uring_is_blocked():
    # The search for leaks at the end needs ptrace too.
    done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=io_uring_setup:error=EPERM", BUILD / "rankctl",
                           "doctor", "--url", "http://127.0.0.1:1"], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
    assert "refused: Operation not permitted" in done.stdout and "until then rankd uses epoll" in done.stdout
