"""The daemon that most tests of the Python client share, and a client of it."""
import pytest

import rankd
from support import Daemon


@pytest.fixture(scope="session")
def daemon():
    with Daemon() as running:
        yield running


@pytest.fixture
def client(daemon):
    with rankd.connect(daemon.url, timeout=30, retry_for=0) as one:
        yield one


@pytest.fixture
def bank(client, request):
    """An empty embedding bank of 16 dimensions with a name of the test's own."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60]
    client.banks.create(name, dim=16, capacity=64, durability="none")
    yield name
    client.banks.delete(name)
