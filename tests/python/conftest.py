# SPDX-License-Identifier: Apache-2.0
"""A client of the shared daemon (tests/conftest.py), a bank for one test, and a daemon to kill."""
import pytest
from support import free_port

import rankd


@pytest.fixture
def client(daemon):
    with rankd.connect(daemon.url, timeout=30, retry_for=0) as one:
        yield one


@pytest.fixture(params=["http", "ring"])
def either(make_daemon, tmp_path, request):
    """A client of each transport, of a daemon of its own with a data folder."""
    daemon = make_daemon("--socket", tmp_path / "ring", "--data", tmp_path / "data")
    url = daemon.url if request.param == "http" else f"unix:{tmp_path}/ring"
    with rankd.connect(url, timeout=60, retry_for=0) as one:
        yield one


@pytest.fixture
def bank(client, request):
    """An empty embedding bank of 16 dimensions with a name of the test's own."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60]
    client.banks.create(name, dim=16, capacity=64, durability="none")
    yield name
    client.banks.delete(name)


@pytest.fixture
def mortal(make_daemon, tmp_path):
    """A daemon that comes back on the same port, over the same data, when it is started again after
    a kill."""
    return make_daemon("--data", tmp_path / "data", http=f"127.0.0.1:{free_port()}")
