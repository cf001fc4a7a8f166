# SPDX-License-Identifier: Apache-2.0
"""The engine that all tests of containers share, with the images that they run."""
import os
import shutil
from pathlib import Path

import pytest

from engine import Engine
from shell import sh

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("RANKD_BUILD", ROOT / "build")).resolve()
WORK = BUILD / "check-deploy"


@pytest.fixture(scope="session")
def engine():
    running = Engine(WORK / "engine")
    running.start(bridged=False)
    try:
        context = WORK / "context"  # the files of git, as in a clone
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir(parents=True)
        names = sh("git", "ls-files", "-z", cwd=ROOT).stdout
        sh("xargs", "-0", "cp", "--parents", "-t", context, cwd=ROOT, input=names)
        running.documented_image(WORK, context)
        running.build("rankd-trainer:latest", context / "deploy/docker/trainer.Dockerfile", context)
        running.build("rankd-store:latest", context / "deploy/docker/store.Dockerfile", context / "deploy")
        (context / "prometheus.Dockerfile").write_text(
            "ARG BASE\nFROM ${BASE}\nRUN apt-get update && apt-get install -y --no-install-recommends prometheus "
            "&& mkdir -p /prometheus && chown nobody /prometheus\nUSER nobody\nENTRYPOINT [\"prometheus\"]\n")
        running.build("prom/prometheus:v2.53.0", context / "prometheus.Dockerfile", context)
        running.start(bridged=True)
        yield running
    finally:
        running.remove()
