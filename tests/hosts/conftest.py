# SPDX-License-Identifier: Apache-2.0
"""A client of the shared daemon (tests/conftest.py), and one of a daemon that keeps checkpoints."""
import pytest

import rankd


@pytest.fixture
def client(daemon):
    with rankd.connect(daemon.url, timeout=30, retry_for=0) as one:
        yield one


@pytest.fixture
def keeper(make_daemon, tmp_path):
    with rankd.connect(make_daemon("--data", tmp_path / "data").url, timeout=30, retry_for=0) as one:
        yield one
