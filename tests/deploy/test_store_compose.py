# SPDX-License-Identifier: Apache-2.0
"""The compose file of three hosts, each with a store, a Sentinel and a daemon, unchanged: one bank,
and a master that is killed."""
import json
import time
from pathlib import Path

import pytest

from shell import sh

pytest_plugins = ["containers"]  # one engine for all files

ROOT = Path(__file__).resolve().parents[2]
BANK = {"kind": "scores", "lists": 1, "capacity": 64}


class Hosts:
    def __init__(self, engine):
        self.engine = engine

    def __call__(self, *arguments, **more):
        return sh("docker-compose", "-p", "rankd-store-test", "-f", ROOT / "deploy/docker-compose.store.yml", *arguments,
                  env=self.engine.env, cwd=ROOT / "deploy", **more)

    def call(self, host, method, path, document=None):
        """Calls through the published port; None if the daemon answered 503."""
        done = self.engine.inside("curl", "-s", "-m", "30", "-w", "\n%{http_code}", "-X", method, "-d",
                                  "" if document is None else json.dumps(document), f"http://127.0.0.1:808{host}{path}",
                                  check=False)
        body, _, status = done.stdout.rpartition("\n")
        assert status in ("200", "503", "000"), done.stdout
        return json.loads(body) if status == "200" else None

    def append(self, host, name):
        document = {"parameters": {"bank": "b", "batch_id": name}, "outputs": [{"name": "loss"}], "inputs": [
            {"name": "scores", "shape": [1, 4], "datatype": "FP32", "data": [0.9, 0.8, 0.7, 0.6]},
            {"name": "targets", "shape": [1, 4], "datatype": "INT8", "data": [0, 1, 0, 1]}]}
        answer = wait_for(lambda: self.call(host, "POST", "/v2/models/ap/infer", document), 120)
        return answer["parameters"]["bank_version_appended"]

    def redis(self, service, *words):
        return self("exec", "-T", service, "redis-cli", *words, check=False).stdout.split()


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, "what was waited for did not come"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def hosts(engine):
    engine.docker("image", "inspect", "rankd:latest")
    engine.docker("image", "inspect", "rankd-store:latest")
    running = Hosts(engine)
    running("up", "-d", "--no-build")
    try:
        yield running
    finally:
        print(running("logs", "--no-color", "--tail", "20", check=False).stdout)
        running("down", "-v")


def test_three_hosts_share_a_bank_and_a_master_is_killed(hosts):
    wait_for(lambda: sum("state=online" in word for word in hosts.redis("store1", "INFO", "replication")) == 2, 90)
    wait_for(lambda: all(len([w for w in hosts.redis(f"sentinel{i}", "-p", "26379", "SENTINEL", "sentinels", "banks")
                              if w == "runid"]) == 2
                         for i in (1, 2, 3)), 90)
    wait_for(lambda: hosts.call(1, "PUT", "/v2/banks/b", BANK), 60)
    for host in (2, 3):
        wait_for(lambda: hosts.call(host, "PUT", "/v2/banks/b", BANK), 60)
    appended = {f"before-{n}": hosts.append(1 + n % 3, f"before-{n}") for n in range(6)}
    assert sorted(appended.values()) == [1, 2, 3, 4, 5, 6]
    hosts("kill", "store1")
    after = {f"after-{n}": hosts.append(1 + n % 3, f"after-{n}") for n in range(6)}
    assert sorted(after.values()) == [7, 8, 9, 10, 11, 12], "something that was acknowledged is missing"
    hosts("start", "store1")
    wait_for(lambda: hosts.redis("store1", "ROLE")[:1] == ["slave"], 90)
    for name, version in {**appended, **after}.items():
        assert hosts.append(2, name) == version
    about = [wait_for(lambda: hosts.call(host, "GET", "/v2/banks/b"), 60) for host in (1, 2, 3)]
    wait_for(lambda: len({(b["version"], b["chain"]) for b in (hosts.call(host, "GET", "/v2/banks/b") for host in (1, 2, 3))})
             == 1, 60)
    assert about[1]["version"] == 12
    store = hosts.call(3, "GET", "/v2/store")
    assert store["role"] == "master" and store["server"].startswith(("172.31.250.12", "172.31.250.13")) and store["daemons"] == 3
