# SPDX-License-Identifier: Apache-2.0
"""A bare Debian 12 that boots: a folder, systemd as process 1 in namespaces around it, and no
network but its own loopback."""
import shutil
import time
from pathlib import Path

from leash import Leash, leashed
from shell import sh

BOOT = Path(__file__).with_name("boot.sh")
JOIN = ("sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"')  # gives systemd a subtree whose root it is
ENVIRONMENT = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")


def cgroup_folder():
    """The folder in which a group of cgroup version 2 can be made, on machines with and without
    version 1 beside it."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return Path(next(where for _, where, kind, *_ in mounts if kind == "cgroup2")) / "rankd-test-machine"


class Machine:
    def __init__(self, folder, base):
        self.folder = Path(folder)
        self.root = self.folder / "root"
        self.cgroup = cgroup_folder()
        self.leash = None
        shutil.rmtree(self.folder, ignore_errors=True)
        self.root.mkdir(parents=True)
        sh("tar", "-xf", base, "-C", self.root)
        shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        (self.root / "etc/dpkg/dpkg.cfg.d/no-sync").write_text("force-unsafe-io\n")  # it need not survive a power cut

    def before_boot(self, *command):
        """Runs a command in the folder with the network of this machine, to fetch packages."""
        return sh(*leashed("chroot", self.root, *ENVIRONMENT, *command, flags=[f"--mount-proc={self.root}/proc"]))

    def boot(self):
        self.remove_cgroup()
        self.cgroup.mkdir()
        self.leash = Leash("sh", BOOT, self.root, log=self.folder / "console", spaces=("net", "uts", "ipc", "cgroup"),
                           before=(*JOIN, self.cgroup))
        end = time.monotonic() + 60
        while not self.is_up():
            assert time.monotonic() < end and self.leash.running(), (self.folder / "console").read_text()[-4000:]
            time.sleep(0.1)

    def is_up(self):
        leader = self.leash.leader()
        # Until boot.sh executes systemd, the namespace still has this machine's own root.
        if not leader or Path(f"/proc/{leader}/comm").read_text() != "systemd\n":
            return False
        return self("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def __call__(self, *command, **more):
        """Runs a command in the booted machine as its root."""
        return self.leash.inside(*ENVIRONMENT, *command, spaces=("mount", "pid", "net", "uts", "ipc", "cgroup"), **more)

    def curl(self, *arguments):
        """Runs this machine's curl on the loopback of the booted machine."""
        return self.leash.inside("curl", "-s", "--fail-with-body", *arguments, spaces=("net",)).stdout

    def path(self, inside):
        return self.root / str(inside).lstrip("/")

    def remove_cgroup(self):
        """Removes the group, also one that a killed run left. A killed process stays in its group
        until it is completely gone."""
        end = time.monotonic() + 20
        while self.cgroup.is_dir():
            try:
                for folder in sorted(self.cgroup.glob("**/"), key=lambda f: -len(f.parts)):
                    folder.rmdir()
            except OSError:
                assert time.monotonic() < end, f"{self.cgroup} is in use"
                time.sleep(0.05)

    def remove(self):
        if self.leash:
            self.leash.end(patience=0)
            self.remove_cgroup()
        shutil.rmtree(self.folder, ignore_errors=True)
