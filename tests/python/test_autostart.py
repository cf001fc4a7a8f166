# SPDX-License-Identifier: Apache-2.0
"""A client without a URL: one daemon for all processes of a user, whichever process starts it and
whichever dies."""
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from own_daemon import LOSS, PID, Surroundings
from support import BUILD, ROOT

import rankd

BANK = "c = rankd.connect()\nc.banks.create('b', dim=2, capacity=64, durability='always')\n"
APPEND = "c.loss('ap', embeddings=[[1.0, 0.0], [0.0, 1.0]], labels=[0, 0], bank='b')\n"


@pytest.fixture
def here(tmp_path):
    surroundings = Surroundings(tmp_path)
    yield surroundings
    surroundings.end()
    assert "Sanitizer" not in "".join(path.read_text() for path in tmp_path.glob("run/rankd/*.log*"))


def test_the_first_use_starts_a_daemon_that_the_next_process_finds(here):
    first, said = here.run(f"print({LOSS}, {PID})")
    second, _ = here.run(f"print({LOSS}, {PID})")
    assert first == second and first.startswith("0.5 ") and said == ""
    assert here.daemons() == [int(first.split()[1])]


def test_one_log_line_tells_of_the_start(here):
    code = f"import logging; logging.basicConfig(level=logging.INFO)\n{LOSS}"
    assert re.fullmatch(r"INFO:rankd:rankd: started the daemon of this user, process \d+ on \S+, log in \S+", here.run(code)[1])
    assert here.run(code)[1] == ""


def test_it_has_no_port_and_the_settings_of_a_guest(here):
    here.run(LOSS)
    (pid,) = here.daemons()
    line = Path(f"/proc/{pid}/cmdline").read_text()
    assert "--http=off" in line and f"--data={here.folder}/state/rankd/{os.uname().nodename}" in line
    budget = int(re.search(r"--budget-bytes=(\d+)", line)[1])
    assert 0 < budget <= min(1 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)
    assert os.getsid(pid) != os.getsid(0) and os.readlink(f"/proc/{pid}/cwd") == "/"
    assert oct((here.folder / "run/rankd").stat().st_mode)[-3:] == "700"


def test_two_scripts_at_once_share_it(here):
    both = [here.begin(f"print({LOSS}, {PID})") for _ in range(2)]
    said = {process.communicate(timeout=120)[0] for process in both}
    assert len(said) == 1 and said.pop().startswith("0.5")


def test_fifty_processes_at_once_start_one(here):
    out, _ = here.run(f"""
import os, sys
go, wait = os.pipe()[::-1]
children = []
for _ in range(50):
    pid = os.fork()
    if not pid:
        os.close(go)
        os.read(wait, 1)
        assert {LOSS} == 0.5
        os.write(1, b"%d\\n" % {PID})  # in one piece
        os._exit(0)
    children.append(pid)
os.close(go)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)""")
    assert len(out.split()) == 50 and len(set(out.split())) == 1
    assert here.daemons() == [int(out.split()[0])]


def test_ranks_of_a_job_share_its_bank(here):
    rank = "import sys\nc = rankd.connect()\nc.banks.create('b', dim=2, capacity=64)\n" + APPEND + "print(c.banks.get('b').generation)"
    ranks = [here.begin(rank, RANK=str(n), WORLD_SIZE="4") for n in range(4)]
    for process in ranks:
        assert process.communicate(timeout=120)[0].strip() and process.returncode == 0
    assert here.run("print(rankd.connect().banks.get('b').items)")[0] == "8"


def test_a_job_on_several_machines_is_told_to_name_one_daemon(here):
    _, said = here.run(LOSS, WORLD_SIZE="8", LOCAL_WORLD_SIZE="4")
    assert "RANKD_URL names one for all" in said and said.count("\n") == 0
    assert here.run(LOSS, WORLD_SIZE="4", LOCAL_WORLD_SIZE="4")[1] == ""


def test_a_client_goes_on_in_a_forked_child_and_in_its_parent(here):
    out, _ = here.run(f"""
import os
client = rankd.connect()
ask = lambda: client.loss('ap', [[0.9, 0.8]], [[0, 1]], margin=0.0).loss
ask()
child = os.fork()
print(ask(), {PID}, flush=True)
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(ask(), {PID})""")
    assert len(out.splitlines()) == 3 and len(set(out.splitlines())) == 1


def test_a_client_can_be_sent_to_a_worker(here):
    out, _ = here.run(f"""
import pickle, subprocess, sys
client = rankd.connect()
client.ready()
text = pickle.dumps(client).hex()
code = "import pickle, sys; print(pickle.loads(bytes.fromhex(sys.argv[1])).metadata()['name'])"
print(subprocess.run([sys.executable, '-c', code, text], capture_output=True, text=True, check=True).stdout)""")
    assert out == "rankd"


def test_a_kernel_that_is_restarted_finds_its_bank(here):
    kernel = here.begin(BANK + APPEND + "print('ready', flush=True)\nimport time; time.sleep(100)")
    assert kernel.stdout.readline() == "ready\n"
    kernel.kill()
    kernel.communicate()
    assert here.run("print(rankd.connect().banks.get('b').items)")[0] == "2"
    assert len(here.daemons()) == 1


def test_a_killed_client_counts_as_gone(here):
    client = here.begin("c = rankd.connect()\nc.ready()\nprint('ready', flush=True)\nimport time; time.sleep(100)",
                        RANKD_LINGER="300ms")
    assert client.stdout.readline() == "ready\n"
    time.sleep(1.0)
    here.wait_for_daemons(1)  # as long as it has a client
    client.kill()
    client.communicate()
    here.wait_for_daemons(0)
    assert not here.socket.exists()


def test_a_killed_daemon_is_replaced_under_its_clients(here):
    out, _ = here.run(BANK + APPEND + f"""
import os, signal
first = {PID}
os.kill(first, signal.SIGKILL)
print(c.loss('ap', embeddings=[[1.0, 0.0], [0.0, 1.0]], labels=[0, 0], bank='b').info.bank_items)
print(c.banks.get('b').items, {PID} != first)""")
    assert out.split() == ["2", "4", "True"]


def test_a_killed_starter_keeps_nobody_waiting(here):
    starter = here.begin("""
import rankd.auto, time
home = rankd.home.find_home()
assert rankd.auto._try_lock(home)
print('locked', flush=True)
time.sleep(100)""")
    assert starter.stdout.readline() == "locked\n"
    waiting = here.begin(f"print({LOSS})")
    time.sleep(0.5)
    assert waiting.poll() is None and not here.daemons()
    starter.kill()
    assert waiting.communicate(timeout=60)[0] == "0.5\n"
    starter.communicate()


def slow(here, seconds):
    """A build whose daemon waits before it starts."""
    build = here.folder / "slow"
    build.mkdir()
    for file in ("librankd.so.0", "rankctl"):
        (build / file).symlink_to(BUILD / file)
    (build / "rankd").write_text(f'#!/bin/sh\necho begun >> {here.folder}/begun\nsleep {seconds}\nexec {BUILD}/rankd "$@"\n')
    (build / "rankd").chmod(0o755)
    return str(build)


def test_a_daemon_whose_starter_is_killed_serves_those_who_wait(here):
    build = slow(here, 1)
    starter = here.begin(LOSS, RANKD_BUILD=build)
    while not (here.folder / "begun").exists():
        assert starter.poll() is None, starter.communicate()
        time.sleep(0.01)
    waiting = here.begin(f"print({LOSS})", RANKD_BUILD=build)
    starter.kill()
    starter.communicate()
    assert waiting.communicate(timeout=60)[0] == "0.5\n"
    assert len(here.daemons()) == 1 and (here.folder / "begun").read_text() == "begun\n"


def test_a_fork_during_the_start_does_not_hold_the_lock(here):
    """The child lives on and the daemon is killed; no other process may have its lock."""
    out, _ = here.run(f"""
import os, signal, threading, time
thread = threading.Thread(target=lambda: rankd.connect().ready())
thread.start()
while not os.path.exists({str(here.folder / 'begun')!r}):
    time.sleep(0.01)
child = os.fork()
if not child:
    time.sleep(100)
    os._exit(0)
thread.join()
first = {PID}
os.kill(first, signal.SIGKILL)
rankd.connect().metadata()
print({PID} != first)
os.kill(child, signal.SIGKILL)""", RANKD_BUILD=slow(here, 1))
    assert out == "True"


def test_it_lingers_and_ends(here):
    here.run(LOSS, RANKD_LINGER="200ms")
    here.wait_for_daemons(0)
    assert not here.socket.exists() and (here.folder / "run/rankd/rankd.lock").exists()
    here.run(LOSS)
    assert len(here.daemons()) == 1


def test_a_client_that_comes_while_it_ends_gets_another_one(here):
    out, _ = here.run("""
import random, time
random.seed(1)
client = rankd.connect()
for _ in range(40):
    assert client.loss('ap', [[0.9, 0.8]], [[0, 1]], margin=0.0).loss == 0.5
    client.close()
    time.sleep(random.uniform(0.02, 0.06))
print('all')""", RANKD_LINGER="40ms")
    assert out == "all"
    assert len(here.daemons()) <= 1


def test_autostart_can_be_switched_off(here):
    _, said = here.run("rankd.connect(retry_for=0).metadata()", status=1, RANKD_AUTOSTART="0")
    assert "no connection to http://127.0.0.1:8080" in said and not here.daemons()
    _, said = here.run("rankd.connect().metadata()", status=1, RANKD_AUTOSTART="no")
    assert "RANKD_AUTOSTART is 'no'; it may be 0 or 1" in said


def test_what_is_named_wins(here, daemon):
    for code, variables in ((f"print(rankd.connect({daemon.url!r}).metadata()['name'])", {}),
                            ("print(rankd.connect().metadata()['name'])", {"RANKD_URL": daemon.url})):
        assert here.run(code, **variables)[0] == "rankd"
    assert not here.daemons()


def test_the_machines_daemon_comes_first(here, make_daemon):
    system = make_daemon("--socket", here.folder / "system.sock")
    assert here.run(f"print({LOSS})")[0] == "0.5" and not here.daemons()
    system.kill()
    assert here.run(f"print({LOSS})")[0] == "0.5" and len(here.daemons()) == 1


def test_a_loss_module_needs_no_url(here):
    out, _ = here.run("""
import torch, rankd.torch
scores = torch.tensor([[0.9, 0.8, 0.7, 0.6]], requires_grad=True)
loss = rankd.torch.APLoss(margin=0.0)(scores, torch.tensor([[0, 1, 0, 1]]))
loss.backward()
print(loss.item(), scores.grad.abs().sum().item() > 0)""")
    assert out == "0.5 True" and len(here.daemons()) == 1


def test_an_unpickled_client_knows_no_place_of_another_machine():
    transport = rankd.connect().transport
    assert pickle.loads(pickle.dumps(transport)).url == "not looked for yet"


def test_doctor_does_not_take_the_remains_of_a_daemon_for_a_fault(here):
    here.run(LOSS)
    os.kill(here.daemons()[0], signal.SIGKILL)
    done = subprocess.run([sys.executable, "-m", "rankd", "doctor"], env=here.environment, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0 and "does not run; the first request starts it" in done.stdout, done
    assert here.socket.exists() and here.run(f"print({LOSS})")[0] == "0.5"


@pytest.mark.parametrize("arguments, said", [
    (["doctor"], "own daemon"), (["status"], "no daemon runs"), (["stop"], "no daemon of this user runs"), (["--help"], "usage")])
def test_a_command_starts_nothing(here, arguments, said):
    done = subprocess.run([sys.executable, "-m", "rankd", *arguments], env=here.environment, capture_output=True, text=True,
                          timeout=60)
    assert said in done.stdout, done
    assert not here.daemons()


def test_the_commands_see_the_daemon_that_runs(here):
    def command(*arguments):
        return subprocess.run([sys.executable, "-m", "rankd", *arguments], env=here.environment, capture_output=True, text=True,
                              timeout=60)

    bench = command("bench", "--duration", "0.2")
    assert "requests/s" in bench.stdout, bench
    (pid,) = here.daemons()
    assert f"process {pid}" in command("status").stdout and f"process {pid} runs" in command("doctor").stdout
    assert command("stop").stdout == f"process {pid} ended\n" and not here.daemons()
    wrong = command("fly")
    assert wrong.returncode == 2 and "'fly' is not a command; it may be doctor, serve, status, bench, stop" in wrong.stderr
    assert ROOT.exists()


def test_serve_is_the_daemon_in_the_foreground(here):
    process = subprocess.Popen([sys.executable, "-m", "rankd", "serve", "--http", "127.0.0.1:0"], env=here.environment,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline().startswith("listening on http://127.0.0.1:")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    process.stdout.close()
