"""A Docker engine of the tests' own, in a network namespace of its own, on a machine that may have none.

Images are built with the host's network (packages come over it); containers run on a bridge inside the namespace, so that the
compose file is tested as it is, ports included, and nothing of the host's network is touched.
"""
import os
import shutil
import subprocess
import time
from pathlib import Path

NAMESPACE = "rankd-test"
SUBNET = "10.77.0.1/24"


def sh(*command, check=True, timeout=540, **more):
    done = subprocess.run([str(c) for c in command], text=True, capture_output=True, timeout=timeout, **more)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}\nexit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done


class Engine:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket = self.folder / "docker.sock"
        self.process = None
        self.env = dict(os.environ, DOCKER_HOST=f"unix://{self.socket}", DOCKER_BUILDKIT="0",
                        DOCKER_CONFIG=str(self.folder / "config"), COMPOSE_HTTP_TIMEOUT="120")

    def start(self, bridged):
        """Starts dockerd: on the host's network without a bridge (to build), or in the namespace with one (to run)."""
        self.stop()
        command = ["dockerd", "--data-root", self.folder / "root", "--exec-root", self.folder / "exec", "-H",
                   f"unix://{self.socket}", "-p", self.folder / "docker.pid", "--storage-driver=overlay2",
                   "--userland-proxy=false", "--oom-score-adjust=0"]
        if bridged:
            sh("ip", "netns", "add", NAMESPACE, check=False)
            sh("ip", "netns", "exec", NAMESPACE, "ip", "link", "set", "lo", "up")
            command = ["nsenter", f"--net=/run/netns/{NAMESPACE}", *command, "--bip", SUBNET,
                       "--default-address-pool", "base=10.78.0.0/16,size=24"]
        else:
            command += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
        log = open(self.folder / "dockerd.log", "ab")
        self.process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while sh("docker", "info", check=False, env=self.env).returncode != 0:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise AssertionError("dockerd does not start:\n" + (self.folder / "dockerd.log").read_text()[-3000:])
            time.sleep(0.2)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def remove(self):
        self.stop()
        sh("ip", "netns", "del", NAMESPACE, check=False)
        shutil.rmtree(self.folder / "exec", ignore_errors=True)

    def docker(self, *arguments, **more):
        return sh("docker", *arguments, env=self.env, **more)

    def inside(self, *command, **more):
        """Runs a command where the containers' published ports are: in the namespace."""
        return sh("ip", "netns", "exec", NAMESPACE, *command, **more)

    def base_image(self, cache):
        """debian-base:bookworm from Debian's own packages, with mmdebstrap."""
        cache = Path(cache)
        if not cache.exists():
            sh("mmdebstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", cache.with_suffix(".part.tar"))
            os.rename(cache.with_suffix(".part.tar"), cache)
        self.docker("import", cache, "debian-base:bookworm")

    def build(self, tag, dockerfile, context):
        self.docker("build", "--network=host", "--build-arg", "BASE=debian-base:bookworm", "-t", tag, "-f", dockerfile, context)
