# SPDX-License-Identifier: Apache-2.0
"""The rule that keeps the wall clock out of waits and durations (tests/wall_clock.sh): it finds bad
code, and nothing in the project."""
import subprocess
from pathlib import Path

import pytest

RULE = Path(__file__).parents[1] / "wall_clock.sh"
FORBIDDEN = ["clock_gettime(CLOCK_REALTIME, &now);", "gettimeofday(&now, NULL);", "timespec_get(&now, TIME_UTC);",
             "t = time(NULL);", "pthread_cond_timedwait(&c, &l, &until);", "sem_timedwait(&s, &until);",
             "pthread_mutex_timedlock(&l, &until);", "pthread_timedjoin_np(t, NULL, &until);", "mq_timedreceive(q, m, n, NULL, "
                                                                                               "&until);", "end = time.time() + 5",
             "end = time.time_ns()", "now = datetime.now()", "std::chrono::system_clock::now()"]
ALLOWED = ["clock_gettime(CLOCK_MONOTONIC, &now);", "pthread_cond_clockwait(&c, &l, CLOCK_MONOTONIC, &until);",
           "time.monotonic()", "poll(&fd, 1, 20);", "localtime_r(&taken, &local);", "set_time(0);",
           "datetime.timedelta(seconds=180)"]


def run(*files):
    return subprocess.run([RULE, *files], capture_output=True, text=True)


def test_the_code_asks_the_wall_clock_for_dates_only():
    done = run()
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("line", FORBIDDEN)
def test_the_rule_finds_it(tmp_path, line):
    (tmp_path / "code").write_text(f"before\n{line}\n")
    done = run(tmp_path / "code")
    assert done.returncode == 1 and f"code:2:{line}" in done.stdout


def test_the_rule_lets_other_clocks_pass(tmp_path):
    (tmp_path / "code").write_text("\n".join(ALLOWED))
    done = run(tmp_path / "code", tmp_path / "code")
    assert done.returncode == 0, done.stdout
