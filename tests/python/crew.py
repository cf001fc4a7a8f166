# SPDX-License-Identifier: Apache-2.0
"""Ranks of a job that torchrun starts once, and that run functions of a module for one test after
another.

    with Crew(4, tmp_path) as crew:
        crew.run("joint_tasks.step", url, …)     # [what step(…) returned in each rank], by rank

A function that raises in a rank gives an Oops there. A rank that does not answer in time fails the
test: it hangs.
"""
import importlib
import os
import pickle
import socket
import subprocess
import sys
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Client, Listener
from pathlib import Path

HERE = Path(__file__).resolve()
PATIENCE_S = 120  # on a busy machine
# Debian's torch 1.13 fails on its own defaults of --redirects and --tee under Python 3.11: these
# values mean none for the existing ranks.
TORCHRUN = {"PET_REDIRECTS": "9:0", "PET_TEE": "9:0", "PET_MONITOR_INTERVAL": "0.2"}


@dataclass
class Oops:
    """An exception of a rank."""

    kind: str
    text: str
    trace: str


class Crew:
    def __init__(self, size, folder):
        self.folder = Path(folder)
        self.listener = Listener(str(self.folder / "crew"), "AF_UNIX")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RANKD_URL")}
        environment.update(TORCHRUN, OMP_NUM_THREADS="1",
                           PYTHONPATH=os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.log = open(self.folder / "torchrun.log", "wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={size}", "--master_addr=127.0.0.1",
             f"--master_port={port}", str(HERE), self.listener.address], env=environment, stdout=self.log,
             stderr=subprocess.STDOUT)
        self.listener._listener._socket.settimeout(PATIENCE_S)
        met = [self.listener.accept() for _ in range(size)]
        self.ranks = [connection for _, connection in sorted(((c.recv(), c) for c in met), key=lambda pair: pair[0])]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for rank in self.ranks:
            rank.close()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.log.close()
            self.listener.close()

    def start(self, name, *arguments):
        for rank in self.ranks:
            rank.send_bytes(pickle.dumps((name, arguments)))  # send() would share the memory of tensors

    def results(self):
        found = []
        for number, rank in enumerate(self.ranks):
            assert rank.poll(PATIENCE_S), f"rank {number} does not answer:\n{(self.folder / 'torchrun.log').read_text()}"
            found.append(pickle.loads(rank.recv_bytes()))
        return found

    def run(self, name, *arguments):
        self.start(name, *arguments)
        found = self.results()
        bad = [one for one in found if isinstance(one, Oops)]
        assert not bad, bad[0].trace
        return found

    def refused(self, name, *arguments):
        """The exceptions of a function that must raise in every rank."""
        self.start(name, *arguments)
        found = self.results()
        assert all(isinstance(one, Oops) for one in found), found
        return found


def serve(address):
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    with Client(address, "AF_UNIX") as test:
        test.send(dist.get_rank())
        while True:
            try:
                name, arguments = pickle.loads(test.recv_bytes())
            except EOFError:
                break
            module, function = name.split(".")
            try:
                answer = getattr(importlib.import_module(module), function)(*arguments)
            except Exception as error:
                answer = Oops(type(error).__name__, str(error), traceback.format_exc())
            test.send_bytes(pickle.dumps(answer))
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.modules["crew"] = sys.modules["__main__"]  # for pickles of Oops
    Oops.__module__ = "crew"
    serve(sys.argv[1])
