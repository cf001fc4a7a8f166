# SPDX-License-Identifier: Apache-2.0
"""Random sequences of operations on a bank of a real daemon that is killed again and again, against
a plain model: a list of items. tests/unit/bank/test_bank_states.c tests all sequences, within one
process. Long form: `make soak` (RK_SOAK)."""
import os
import random
import threading
import time

import pytest
from support_bank import BankDaemon, Refused, fingerprint

SOAK = bool(os.environ.get("RK_SOAK"))
CAPACITY = 6


class Model:
    def __init__(self):
        self.items, self.version, self.generation, self.tags = [], 0, 1, {}

    def copy(self):
        copy = Model()
        copy.__dict__ = {**self.__dict__, "items": list(self.items), "tags": dict(self.tags)}
        return copy

    def append(self, items):
        self.items = (self.items + items)[-CAPACITY:]
        self.version += 1

    def clear(self):
        self.items, self.generation = [], self.generation + 1

    def checkpoint(self, tag):
        self.tags[tag] = (self.items, self.version)

    def restore(self, tag):
        (self.items, self.version), self.generation = self.tags[tag], self.generation + 1

    def forget(self, tag):
        del self.tags[tag]


def look(daemon):
    state = daemon.bank("b")
    assert not state["read_only"], state
    return fingerprint(daemon, "b")[2:], state["version"], state["generation"], \
        sorted(c["tag"] for c in daemon.call("GET", "/v2/banks/b/checkpoints"))


def want(daemon, model):
    """The state of a bank that got these items, one after the other."""
    daemon.bank("twin", kind="scores", lists=1, capacity=CAPACITY, durability="none")
    if model.items:
        daemon.scores("twin", [model.items], [[1] * len(model.items)])
    print_of_twin = fingerprint(daemon, "twin")[2:]
    daemon.call("DELETE", "/v2/banks/twin")
    return print_of_twin, model.version, model.generation, sorted(model.tags)


def draw_operation(draw, model, n):
    """A random operation: on the model, and as a request to the daemon."""
    free, there = [t for t in "tu" if t not in model.tags], sorted(model.tags)
    kind = draw.choice("aaaAC" + "K" * bool(free) + "RD" * bool(there))
    if kind in "aA":
        items = [n + i / 8 for i in range(1 if kind == "a" else CAPACITY)]
        return lambda m: m.append(items), lambda d: d.scores("b", [items], [[1] * len(items)], batch_id=str(n))
    if kind == "C":
        return lambda m: m.clear(), lambda d: d.call("POST", "/v2/banks/b/clear")
    tag = draw.choice(free if kind == "K" else there)
    name = f"/v2/banks/b/checkpoints/{tag}"
    return {"K": (lambda m: m.checkpoint(tag), lambda d: d.call("PUT", name)),
            "R": (lambda m: m.restore(tag), lambda d: d.call("POST", name + "/restore")),
            "D": (lambda m: m.forget(tag), lambda d: d.call("DELETE", name))}[kind]


def kill_within(daemon, ask, seconds):
    def try_it():
        try:
            ask(daemon)
        except Refused:
            raise
        except Exception:  # noqa: BLE001 - the daemon is gone
            pass

    thread = threading.Thread(target=try_it)
    thread.start()
    time.sleep(seconds)
    daemon.kill()
    thread.join()


@pytest.mark.parametrize("durability", ["always", "interval", "none"])
def test_a_bank_that_is_killed_within_any_operation_is_what_the_model_says(tmp_path, durability):
    draw = random.Random(f"states {durability}")
    model = Model()
    with BankDaemon(tmp_path) as daemon:
        daemon.bank("b", kind="scores", lists=1, capacity=CAPACITY, durability=durability)
        for n in range(1, 2000 if SOAK else 60):
            change, ask = draw_operation(draw, model, n)
            after = model.copy()
            change(after)
            how = draw.random()
            if how < 0.3:
                kill_within(daemon, ask, draw.uniform(0, 0.004))
                daemon.start()
                seen = look(daemon)
                model = after if seen == want(daemon, after) else model
            else:
                ask(daemon)
                model = after
                if how > 0.9:
                    daemon.kill() if how > 0.95 else daemon.stop()
                    daemon.start()
                seen = look(daemon)
            assert seen == want(daemon, model), n
