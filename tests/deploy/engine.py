# SPDX-License-Identifier: Apache-2.0
"""A separate Docker engine for the tests, in its own namespaces, on a machine that may have none.

Images are built with the host's network (packages come over it); containers run on a bridge in a
network namespace, so that the compose file is tested as it is, ports included, and nothing of the
host's network is touched. Mounts and processes have their namespaces too: the engine and its
containers end with the run, even with one that is killed.
"""
import os
import shutil
import time
from pathlib import Path

from base import BUILD_IMAGE, IMPORT, debian_base
from leash import Leash
from shell import sh

SUBNET = "10.77.0.1/24"


class Engine:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket = self.folder / "docker.sock"
        self.leash = None
        self.env = dict(os.environ, DOCKER_HOST=f"unix://{self.socket}", DOCKER_BUILDKIT="0",
                        DOCKER_CONFIG=str(self.folder / "config"), COMPOSE_HTTP_TIMEOUT="120")

    def start(self, bridged):
        """Starts dockerd: on the host's network without a bridge (to build), or on one of its own
        with one (to run)."""
        self.stop()
        (self.folder / "docker.pid").unlink(missing_ok=True)  # it names process 1, which always exists there
        command = ["dockerd", "--data-root", self.folder / "root", "--exec-root", self.folder / "exec", "-H",
                   f"unix://{self.socket}", "-p", self.folder / "docker.pid", "--storage-driver=overlay2",
                   "--userland-proxy=false", "--oom-score-adjust=0"]
        if bridged:
            command = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command, "--bip", SUBNET,
                       "--default-address-pool", "base=10.78.0.0/16,size=24"]
        else:
            command += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
        log = self.folder / "dockerd.log"
        self.leash = Leash(*command, log=log, spaces=["net"] if bridged else [], flags=["--mount-proc"])
        deadline = time.monotonic() + 60
        while sh("docker", "info", check=False, env=self.env).returncode != 0:
            assert time.monotonic() < deadline and self.leash.running(), "dockerd does not start:\n" + log.read_text()[-3000:]
            time.sleep(0.2)

    def stop(self):
        if self.leash:
            self.leash.end()
        self.leash = None

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder / "exec", ignore_errors=True)

    def docker(self, *arguments, **more):
        return sh("docker", *arguments, env=self.env, **more)

    def inside(self, *command, **more):
        """Runs a command where the containers' published ports and pids are."""
        return self.leash.inside(*command, **more)

    def documented_image(self, work, context):
        """rankd's image by the commands of the page; only the network is added, because there is no
        bridge while this engine builds."""
        sh("sh", "-c", IMPORT, cwd=debian_base(work).parent, env=self.env)
        assert BUILD_IMAGE.startswith("docker build ")
        sh("sh", "-c", BUILD_IMAGE.replace("docker build", "docker build --network=host"), cwd=context, env=self.env)

    def build(self, tag, dockerfile, context):
        self.docker("build", "--network=host", "--build-arg", "BASE=debian-base:bookworm", "-t", tag, "-f", dockerfile, context)
