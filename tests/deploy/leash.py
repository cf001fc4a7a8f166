# SPDX-License-Identifier: Apache-2.0
"""A process in its own namespaces that ends, with all of its children, when the test run that
started it ends, even by SIGKILL.

The kernel kills `unshare` when its parent is gone, and its child with it; that child is the
namespace's process 1, so everything in there ends too. Mounts and network belong to the namespaces,
so they need no clean-up either.
"""
import subprocess
from pathlib import Path

from shell import sh


def leashed(*command, spaces=(), flags=(), before=()):
    """The command line; `spaces` are further namespaces (net, uts, ipc, cgroup), `before` runs
    outside of them and execs the rest."""
    return [str(part) for part in (
        "setpriv", "--pdeathsig", "KILL", *before, "unshare", "--mount", "--pid", "--fork", "--kill-child",
        *(f"--{space}" for space in spaces), *flags, *command)]


class Leash:
    """A leashed command that runs beside the tests."""

    def __init__(self, *command, log, **more):
        with open(log, "ab") as out:
            self.process = subprocess.Popen(leashed(*command, **more), stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def leader(self):
        """The command's own pid, or None if it has not begun or has ended."""
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except FileNotFoundError:
            return None
        return int(children[0]) if children else None

    def running(self):
        return self.process.poll() is None

    def inside(self, *command, spaces=("mount", "pid", "net"), **more):
        """Runs a command in there, or in some of its namespaces only."""
        leader = self.leader()
        assert leader, "there is nobody in the namespaces"
        return sh("nsenter", "--target", leader, *(f"--{space}" for space in spaces), *command, **more)

    def end(self, patience=30):
        """SIGTERM to the command, which may clean up, then SIGKILL to all remaining processes."""
        if self.running() and (leader := self.leader()):
            sh("kill", "-TERM", leader, check=False)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                pass
        self.process.kill()
        self.process.wait()
