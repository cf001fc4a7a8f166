# SPDX-License-Identifier: Apache-2.0
"""A retry appends nothing, however many batches came between: across restarts, and after a restored
checkpoint."""
import json
import threading

import pytest
from support_bank import BankDaemon, Refused
from support_http import connect, request

KEPT = 65536
CAPACITY = 8  # the items that a batch was computed against leave soon, its id stays: each retry is answered 409


def body(n):
    """Batch n: one list of one item, which no other batch has."""
    return json.dumps({"parameters": {"bank": "bank", "batch_id": f"batch-{n}"}, "outputs": [{"name": "loss"}],
                       "inputs": [{"name": "scores", "datatype": "FP32", "shape": [1, 1], "data": [n / 1024]},
                                  {"name": "targets", "datatype": "INT8", "shape": [1, 1], "data": [n % 2]}]}).encode()


def send(connection, n):
    """The version that batch n became."""
    connection.request("POST", "/v2/models/ap/infer", body(n))
    answer = connection.getresponse()
    document = json.loads(answer.read())
    if answer.status != 200:
        raise Refused(answer.status, document["error"])
    return document["parameters"]["bank_version_appended"]


def send_all(daemon, numbers, threads=3, at_once=64):
    """In any order, by several trainers, each with many requests in flight (one by one it would
    take minutes)."""
    numbers, failed = list(numbers), []

    def trainer(mine):
        try:
            with connect(daemon) as s:
                for begin in range(0, len(mine), at_once):
                    some = mine[begin:begin + at_once]
                    s.sendall(b"".join(request("POST", "/v2/models/ap/infer", body(n)) for n in some))
                    answers = b""
                    while (count := answers.count(b"HTTP/1.1 200")) < len(some) or not answers.endswith(b"}"):
                        answers += (more := s.recv(1 << 20))
                        assert more and answers.count(b"HTTP/1.1 ") == answers.count(b"HTTP/1.1 200"), answers
                    assert count == len(some)
        except Exception as error:  # noqa: BLE001 - reported below, by the test's own thread
            failed.append(error)

    running = [threading.Thread(target=trainer, args=(numbers[i::threads],)) for i in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not failed, failed[0]


def assert_known(daemon, n, version):
    before = daemon.bank("bank")["version"]
    with pytest.raises(Refused, match=f'409: batch_id "batch-{n}" was appended to bank "bank" at version {version}, '):
        send(daemon.connect(), n)
    assert daemon.bank("bank")["version"] == before


def test_a_retry_after_4096_and_65535_others_through_restart_and_restore(tmp_path):
    with BankDaemon(tmp_path, "--log-level", "warn") as daemon:
        daemon.bank("bank", kind="scores", lists=1, capacity=CAPACITY, durability="none")
        assert send(daemon.connect(), 0) == 1
        send_all(daemon, range(1, 4097))
        assert_known(daemon, 0, 1)
        daemon.call("PUT", "/v2/banks/bank/checkpoints/after-4096")
        daemon.stop()
        daemon.start()
        assert_known(daemon, 0, 1)

        send_all(daemon, range(4097, KEPT))
        assert daemon.bank("bank")["version"] == KEPT
        assert_known(daemon, 0, 1)
        daemon.call("PUT", "/v2/banks/bank/checkpoints/after-65535")
        daemon.kill()  # durability "none" leaves writing to the system, so a killed process loses nothing
        daemon.start()
        assert_known(daemon, 0, 1)

        version = send(daemon.connect(), KEPT)  # more than are kept always, and less than ten minutes old
        assert_known(daemon, 0, 1)
        daemon.call("POST", "/v2/banks/bank/checkpoints/after-65535/restore")
        assert_known(daemon, 0, 1)
        assert send(daemon.connect(), KEPT) == version == KEPT + 1, "the checkpoint did not know it yet"
        assert_known(daemon, 0, 1)
        daemon.call("POST", "/v2/banks/bank/checkpoints/after-4096/restore")
        assert_known(daemon, 0, 1)
        assert daemon.bank("bank")["version"] == 4097


def test_what_they_cost_is_counted(tmp_path):
    with BankDaemon(tmp_path, "--bank-bytes", "16M") as daemon:
        daemon.bank("bank", kind="scores", lists=1, capacity=8)
        before = daemon.bank("bank")["bytes"]
        send_all(daemon, range(3000))
        after = daemon.bank("bank")["bytes"]
        assert after - before >= 3000 * 64 and daemon.metric("rankd_bank_bytes", "bank") == after
        daemon.bank("second", kind="scores", lists=1, capacity=8)
        with pytest.raises(Refused) as refused:
            daemon.bank("third", kind="scores", lists=1, capacity=8)
        assert refused.value.status == 413 and "--bank-bytes" in refused.value.sentence
