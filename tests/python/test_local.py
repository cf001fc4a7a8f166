# SPDX-License-Identifier: Apache-2.0
"""rankd.local(): a private daemon for the length of a block."""
import os
import re
import signal

import pytest
from own_daemon import LOSS, Surroundings

COUNT = "len(glob.glob(str(rankd.home.find_home().folder / 'local-*.sock')))"
SAY = "print(c.loss('ap', [[0.9, 0.8]], [[0, 1]], margin=0.0).loss, c.transport.url, flush=True)\n"


@pytest.fixture
def here(tmp_path):
    surroundings = Surroundings(tmp_path)
    yield surroundings
    surroundings.end()


def test_it_lives_as_long_as_its_block(here):
    out, said = here.run(f"import glob\nwith rankd.local() as c:\n    {SAY}    print({COUNT})\nprint({COUNT})")
    assert re.fullmatch(r"0\.5 unix:\S+/local-[0-9a-f]+\.sock\S*\n1\n0", out) and said == ""
    assert not here.daemons() and os.listdir(here.folder / "run/rankd") == ["rankd.lock"]


def test_each_is_private_and_no_variable_reaches_it(here):
    out, _ = here.run(f"""
with rankd.local() as a, rankd.local() as b:
    a.banks.create('one', dim=2, capacity=4)
    print(len(a.banks.list()), len(b.banks.list()), {LOSS})
    a.banks.create('two', dim=2, capacity=4)""", RANKD_DATA=str(here.folder / "data"), RANKD_BANKS="1")
    assert out == "1 0 0.5"
    assert len(here.daemons()) == 1  # that of the client without a URL


def test_an_exception_ends_it_too(here):
    _, said = here.run("with rankd.local() as c:\n    c.ready()\n    raise KeyError('mine')", status=1)
    assert said.endswith("KeyError: 'mine'") and not here.daemons()


def test_options_are_those_of_the_daemon(here):
    data = here.folder / "data"
    code = f"with rankd.local(workers=1, data={str(data)!r}, banks=1, log_level='error') as c:\n    "
    assert here.run(code + "c.banks.create('b', dim=2, capacity=4, durability='always')")[0] == ""
    assert here.run(code + "print(c.banks.get('b').name)")[0] == "b"


@pytest.mark.parametrize("call, sentence", [
    ("worker=1", 'CannotStart: --worker: there is no option "worker"; did you mean "workers"?'),
    ("workers=-1", 'CannotStart: --workers: workers was "-1"'),
    ("http='127.0.0.1:0'", "ValueError: http is set by local()"),
])
def test_a_wrong_option_is_told_in_the_daemons_words(here, call, sentence):
    assert sentence in here.run(f"with rankd.local({call}) as c:\n    pass", status=1)[1].splitlines()[-1]


def test_a_child_that_is_forked_in_the_block_does_not_end_it(here):
    out, _ = here.run(f"""
import os
with rankd.local() as c:
    child = os.fork()
    if child:
        assert os.waitpid(child, 0) == (child, 0)
    {SAY.strip()}""")
    assert len(out.splitlines()) == 2 and len(set(out.splitlines())) == 1


def test_it_does_not_outlive_a_killed_process(here):
    process = here.begin(f"with rankd.local(ring_linger='300ms') as c:\n    {SAY}    input()")
    assert process.stdout.readline().startswith("0.5")
    assert len(here.daemons()) == 1
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    here.wait_for_daemons(0)
