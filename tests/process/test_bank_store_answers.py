# SPDX-License-Identifier: Apache-2.0
"""Operations on banks whose answers from the store do not come: they end, and hold up no other
bank."""
import contextlib
import http.client
import socket
import threading

import pytest
from support_store import Refused, share, stores, wait_until  # noqa: F401

SCORES = {"kind": "scores", "lists": 1, "capacity": 64}


def relay(store, mute):
    """The URL of a relay to the store. Behind a request with the bytes `mute`, nothing comes back
    on its connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source, target, silent, asks):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if asks and mute in data:
                    silent.set()
                if asks or not silent.is_set():
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve():
        while True:
            client, _ = listener.accept()
            try:
                server, silent = socket.create_connection((store.host, store.port)), threading.Event()
            except OSError:
                client.close()
                continue
            threading.Thread(target=pump, args=(client, server, silent, True), daemon=True).start()
            threading.Thread(target=pump, args=(server, client, silent, False), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return f"redis://127.0.0.1:{listener.getsockname()[1]}"


def test_a_creation_waits_no_longer_for_the_store_than_it_may(stores, share):  # noqa: F811
    """Every trainer of a job creates its bank, one behind the other."""
    store = stores()
    daemon = share(relay(store, b"to-nobody"), "--bank-store-timeout", "500ms")
    with pytest.raises(Refused, match="503: the store at .* did not answer in time"):
        daemon.call("PUT", "/v2/banks/to-nobody", SCORES, http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=40))
    daemon.bank("other", **SCORES)


OPERATIONS = [("POST", "/clear"), ("PUT", "/checkpoints/new"), ("POST", "/checkpoints/old/restore"), ("DELETE", "")]


def begin_operation(daemon, method, path):
    """A thread that asks for an operation on the bank "slow", and the list that gets its error."""
    refusals = []

    def operate():
        with pytest.raises(Refused) as refused:
            daemon.call(method, "/v2/banks/slow" + path, None, http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=40))
        refusals.append(str(refused.value))

    thread = threading.Thread(target=operate, daemon=True)
    thread.start()
    return thread, refusals


def prepare_slow(store, share):
    """A daemon that gets no answer from the store to operations on its bank "slow", and when the
    store got one."""
    helper = share(store)
    helper.bank("slow", **SCORES)
    helper.call("PUT", "/v2/banks/slow/checkpoints/old")
    helper.kill()
    return relay(store, b"{slow}:held")


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=["clear", "checkpoint", "restore", "delete"])
def test_an_operation_that_gets_no_answer_holds_up_no_other_bank(stores, share, method, path):  # noqa: F811
    store = stores()
    daemon = share(prepare_slow(store, share), "--bank-store-timeout", "20s")
    wait_until(lambda: daemon.bank("slow")["store_state"] == "current")

    def contents():
        return [key for key in store.keys() if "{slow}" in key and ":serves:" not in key], store.state("slow")

    before = contents()
    thread, refusals = begin_operation(daemon, method, path)
    wait_until(lambda: contents() != before)
    for turn in range(3):  # all of it while the other operation waits
        daemon.bank("other", **SCORES)
        daemon.call("PUT", f"/v2/banks/other/checkpoints/{turn}")
        assert daemon.call("POST", "/v2/banks/other/clear")["generation"] == turn + 2
        assert [c["tag"] for c in daemon.call("GET", "/v2/banks/other/checkpoints")] == [str(t) for t in range(turn + 1)]
    assert thread.is_alive()
    store.kill()
    thread.join(60)
    assert refusals and refusals[0].startswith("503: the store at ")


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=["clear", "checkpoint", "restore", "delete"])
def test_an_operation_whose_answer_is_lost_ends_when_the_store_answers_others(stores, share, method, path):  # noqa: F811
    """It has a minute only as long as the store is at work on it."""
    store = stores()
    daemon = share(prepare_slow(store, share), "--bank-store-timeout", "500ms")
    wait_until(lambda: daemon.bank("slow")["store_state"] == "current")
    thread, refusals = begin_operation(daemon, method, path)
    thread.join(45)
    assert refusals and "503: the store at " in refusals[0] and refusals[0].endswith("did not answer in time")
