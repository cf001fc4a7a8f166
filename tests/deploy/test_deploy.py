# SPDX-License-Identifier: Apache-2.0
"""The containers as a user would run them, on a separate engine: see engine.py."""
import json
import re
import time
from pathlib import Path

import pytest

from shell import sh

pytest_plugins = ["containers"]  # one engine for all files

ROOT = Path(__file__).resolve().parents[2]
VERSION = (ROOT / "clients/python/rankd/VERSION").read_text().strip()
REQUEST = json.dumps({"parameters": {"lambda": 1, "margin": 0}, "inputs": [
    {"name": "scores", "shape": [1, 4], "datatype": "FP32", "data": [0.9, 0.8, 0.7, 0.6]},
    {"name": "targets", "shape": [1, 4], "datatype": "INT8", "data": [0, 1, 0, 1]}]})


class Compose:
    def __init__(self, engine, folder):
        self.engine, self.folder = engine, folder

    def __call__(self, *arguments, **more):
        return sh("docker-compose", "-p", "rankd-test", "-f", ROOT / "deploy/docker-compose.yml", *arguments, env=self.engine.env,
                  cwd=ROOT / "deploy", **more)

    def container(self, service):
        return self("ps", "-q", service).stdout.strip()

    def inspect(self, service, form):
        return self.engine.docker("inspect", "-f", form, self.container(service)).stdout.strip()

    def wait_healthy(self, timeout=60):
        end = time.monotonic() + timeout
        while self.inspect("rankd", "{{.State.Health.Status}}") != "healthy":
            assert time.monotonic() < end, self("logs", "rankd").stdout
            time.sleep(0.3)

    def curl(self, path, *arguments):
        address = self.inspect("rankd", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
        return self.engine.inside("curl", "-s", "--fail-with-body", *arguments, f"http://{address}:8080{path}").stdout


@pytest.fixture(scope="session")
def compose(engine):
    running = Compose(engine, ROOT / "deploy")
    running("up", "-d", "--no-build", "rankd", "prometheus")
    yield running
    running("down", "-v")
    assert engine.docker("ps", "-aq").stdout == "" and "rankd-test" not in engine.docker("volume", "ls", "-q").stdout


def test_the_image_is_small_and_has_no_shell_and_no_root(engine):
    size = int(engine.docker("image", "inspect", "-f", "{{.Size}}", "rankd:latest").stdout)
    print(f"rankd:latest has {size / 2**20:.0f} MiB")
    assert size < 120 * 2**20
    assert engine.docker("image", "inspect", "-f", "{{.Config.User}}", "rankd:latest").stdout.strip() == "10001:10001"
    done = engine.docker("run", "--rm", "--network=none", "--entrypoint", "/bin/sh", "rankd:latest", "-c", "true", check=False)
    assert done.returncode == 127 and "no such file" in done.stderr
    assert f"rankd {VERSION}" in engine.docker("run", "--rm", "--network=none", "rankd:latest", "--version").stdout


def test_compose_comes_up_healthy(compose):
    compose.wait_healthy()
    assert compose.inspect("rankd", "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}") == "true [ALL]"


def test_a_request_over_http_through_the_published_port(compose):
    compose.wait_healthy()
    answer = json.loads(compose.curl("/v2/models/ap/infer", "-d", REQUEST))
    assert {o["name"]: o["data"] for o in answer["outputs"]} == {"loss": [0.5], "gradient": [0.25, -0.25, 0.25, -0.25]}
    port = compose.engine.inside("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8080/v2/health/ready")
    assert port.stdout == "200"


def test_rankd_takes_the_ring_and_io_uring_under_its_profile(compose):
    compose.wait_healthy()
    log = compose("logs", "--no-color", "rankd").stdout
    assert "io_uring" not in [w for line in log.splitlines() if "level=warn" in line for w in line.split()], log
    done = compose.engine.docker("exec", compose.container("rankd"), "/usr/bin/rankctl", "doctor", "--socket",
                                 "/run/rankd/rankd.sock", check=False)
    assert re.search(r"^ok +io_uring", done.stdout, re.M) and re.search(r"^ok +socket", done.stdout, re.M), done.stdout


def bench_over_the_ring(engine, volume):
    """A second container without network, which shares only the socket's volume with the first
    one."""
    done = engine.docker("run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "-v", f"{volume}:/run/rankd",
                         "--entrypoint", "/usr/bin/rankctl", "rankd:latest", "bench", "--socket", "/run/rankd/rankd.sock",
                         "--duration", "1", "--json")
    return json.loads(done.stdout)


def test_another_container_sends_requests_over_the_ring(compose):
    compose.wait_healthy()
    said = bench_over_the_ring(compose.engine, "rankd-test_socket")
    print(f"over the ring between containers: {said}")
    assert said["requests"] > 0 and said["failed"] == 0


def test_the_trainers_container_trains_over_the_ring(compose):
    compose.wait_healthy()
    done = compose("run", "--rm", "trainer", timeout=120)
    assert "step 199" in done.stdout, done.stdout
    assert int(re.search(r'^rankd_requests_total\{model="ap",transport="ring"\} (\d+)', compose.curl("/metrics"), re.M)[1]) >= 200


def test_prometheus_scrapes_rankd_and_loads_the_rules(compose):
    compose.wait_healthy()
    address = compose.inspect("prometheus", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
    end = time.monotonic() + 60
    while True:
        done = compose.engine.inside("curl", "-s", f"http://{address}:9090/api/v1/query?query=up", check=False)
        result = json.loads(done.stdout)["data"]["result"] if done.returncode == 0 and done.stdout.startswith("{") else []
        if result and result[0]["value"][1] == "1":
            break
        assert time.monotonic() < end, compose("logs", "--no-color", "prometheus").stdout[-3000:] + done.stdout
        time.sleep(1)
    rules = json.loads(compose.engine.inside("curl", "-s", f"http://{address}:9090/api/v1/rules").stdout)
    assert {r["name"] for g in rules["data"]["groups"] for r in g["rules"]} >= {"RankdDown", "RankdTrainingStalled"}


def test_kill_9_is_survived_with_the_bank_intact(compose):
    compose.wait_healthy()
    compose.curl("/v2/banks/kept", "-X", "PUT", "-d", '{"kind":"embeddings","dim":4,"capacity":64,"durability":"always"}')
    for batch in range(3):
        compose.curl("/v2/models/ap/infer", "-d", json.dumps({"parameters": {"bank": "kept", "margin": 0}, "inputs": [
            {"name": "embeddings", "shape": [4, 4], "datatype": "FP32",
             "data": [float((i * 7 + batch) % 5 + 1) for i in range(16)]},
            {"name": "labels", "shape": [4], "datatype": "INT64", "data": [0, 0, 1, 1]}]}))
    before = json.loads(compose.curl("/v2/banks/kept"))
    assert before["items"] == 12
    pid = int(compose.inspect("rankd", "{{.State.Pid}}"))
    assert pid > 1
    compose.engine.inside("kill", "-KILL", pid)
    end = time.monotonic() + 60
    while compose.inspect("rankd", "{{.State.Pid}} {{.State.Health.Status}}") in (f"{pid} healthy", "0 healthy", "0 unhealthy") \
            or compose.inspect("rankd", "{{.State.Health.Status}}") != "healthy":
        assert time.monotonic() < end, compose("logs", "rankd").stdout
        time.sleep(0.3)
    after = json.loads(compose.curl("/v2/banks/kept"))
    assert (after["items"], after["version"]) == (before["items"], before["version"])


def test_where_io_uring_is_blocked_rankd_says_so_and_uses_epoll(compose, tmp_path):
    profile = json.loads((ROOT / "deploy/docker/seccomp.json").read_text())
    for group in profile["syscalls"]:
        group["names"] = [n for n in group["names"] if not n.startswith("io_uring")]
    profile["syscalls"] = [g for g in profile["syscalls"] if g["names"]]
    (tmp_path / "no-uring.json").write_text(json.dumps(profile))
    docker = compose.engine.docker
    name = docker("run", "-d", "--read-only", "--cap-drop=ALL", "--security-opt", "no-new-privileges", "--security-opt",
                  f"seccomp={tmp_path}/no-uring.json", "-v", "no-uring-socket:/run/rankd", "rankd:latest").stdout.strip()
    try:
        end = time.monotonic() + 30
        while docker("exec", name, "/usr/bin/rankd", "--health", check=False).returncode != 0:
            assert time.monotonic() < end, docker("logs", name).stderr
            time.sleep(0.2)
        assert "epoll" in docker("logs", name).stderr
        assert bench_over_the_ring(compose.engine, "no-uring-socket")["requests"] > 0
    finally:
        docker("rm", "-f", "-v", name)
        docker("volume", "rm", "no-uring-socket")


def test_sigterm_drains_within_the_grace_period(compose):
    compose.wait_healthy()
    started = time.monotonic()
    compose("stop", "rankd")
    assert time.monotonic() - started < 29
    assert compose.inspect("rankd", "{{.State.ExitCode}}") == "0"
    compose("start", "rankd")
    compose.wait_healthy()
