# SPDX-License-Identifier: Apache-2.0
"""No error comes after the effect: a request that is answered with an error has appended
nothing."""
import json
import os
from pathlib import Path

import pytest
from conftest import assert_ended_well
from support_bank import BankDaemon, tensor
from support_http import ask

TOKEN = "the-token-of-alice-0001"
AUTH = [f"Authorization: Bearer {TOKEN}"]
ITEMS = 1 << 19


@pytest.fixture()
def daemon(tmp_path):
    """A daemon whose /dev/shm is a separate file system of 1 MB."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice infer,banks {TOKEN}\n")
    tokens.chmod(0o600)
    own = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"', "sh")
    daemon = BankDaemon(tmp_path, "--tokens", tokens, "--allow-shm-regions", "--shm-key-prefix", "rk_", wrapper=own)
    daemon.wrapper = []  # exec: the process is the daemon itself
    yield daemon
    assert_ended_well(daemon)


def test_an_output_that_finds_no_room_in_shared_memory_leaves_the_bank_as_it_was(daemon):
    """A region may have no memory behind it, whatever its length: that is detected when it is
    written."""
    assert ask(daemon, "PUT", "/v2/banks/b", {"kind": "scores", "lists": 1, "capacity": ITEMS}, AUTH).status == 200
    memory = Path(f"/proc/{daemon.pid}/root/dev/shm/rk_out")
    memory.touch()
    os.truncate(memory, 4 * ITEMS)  # 2 MB without memory behind them
    region = {"key": "rk_out", "offset": 0, "byte_size": 4 * ITEMS}
    assert ask(daemon, "POST", "/v2/systemsharedmemory/region/out/register", region, AUTH).status == 200
    request = {"parameters": {"bank": "b"},
               "inputs": [tensor("scores", "FP32", [1, ITEMS], [i % 97 for i in range(ITEMS)]),
                          tensor("targets", "INT8", [1, ITEMS], [i % 3 % 2 for i in range(ITEMS)])],
               "outputs": [{"name": "loss"}, {"name": "gradient", "parameters": {
                   "shared_memory_region": "out", "shared_memory_byte_size": 4 * ITEMS}}]}

    def infer():
        return ask(daemon, "POST", "/v2/models/ap/infer", request, AUTH)

    answer = infer()
    assert answer.status == 507 and "shared memory is full" in answer.json()["error"], answer
    bank = ask(daemon, "GET", "/v2/banks/b", headers=AUTH).json()
    assert bank["version"] == 0 and bank["items"] == 0
    with open(memory, "r+b") as file:
        file.truncate(0)
        file.truncate(4 * ITEMS)
    del request["outputs"][1]
    answer = infer()
    assert answer.status == 200 and answer.json()["parameters"]["bank_version_appended"] == 1
    assert ask(daemon, "GET", "/v2/banks/b", headers=AUTH).json()["version"] == 1


def test_a_reply_tells_the_version_only_where_something_was_appended(daemon):
    assert ask(daemon, "PUT", "/v2/banks/b", {"kind": "scores", "lists": 1, "capacity": 10}, AUTH).status == 200
    request = {"parameters": {"bank": "b"}, "inputs": [tensor("scores", "FP32", [1, 2], [1, 2]),
                                                       tensor("targets", "INT8", [1, 2], [1, 0])]}
    for enqueue, version in ((True, 1), (False, None), (True, 2)):
        request["parameters"]["enqueue"] = enqueue
        answer = ask(daemon, "POST", "/v2/models/ap/infer", request, AUTH)
        assert json.loads(answer.body)["parameters"].get("bank_version_appended") == version
