"""Every route with no token, a wrong one, one of each scope, and one with all: who gets in is written down here, once, and
the daemon's own table of routes must not have a route that is missing here."""
import re
from pathlib import Path

import pytest

from conftest import Daemon, assert_ended_well
from support_http import ask

SOURCE = Path(__file__).parents[2] / "server" / "route.c"
EVERYBODY = None
ROUTES = {
    ("GET", "/"): EVERYBODY,
    ("GET", "/v2"): EVERYBODY,
    ("GET", "/v2/health/live"): EVERYBODY,
    ("GET", "/v2/health/ready"): EVERYBODY,
    ("GET", "/metrics"): "metrics",
    ("POST", "/v2/repository/index"): "infer",
    ("GET", "/v2/models/stats"): "infer",
    ("GET", "/v2/models/{model}"): "infer",
    ("GET", "/v2/models/{model}/ready"): "infer",
    ("GET", "/v2/models/{model}/config"): "infer",
    ("GET", "/v2/models/{model}/stats"): "infer",
    ("POST", "/v2/models/{model}/infer"): "infer",
    ("GET", "/v2/systemsharedmemory/status"): "infer",
    ("POST", "/v2/systemsharedmemory/unregister"): "infer",
    ("GET", "/v2/systemsharedmemory/region/{region}/status"): "infer",
    ("POST", "/v2/systemsharedmemory/region/{region}/register"): "infer",
    ("POST", "/v2/systemsharedmemory/region/{region}/unregister"): "infer",
    ("GET", "/v2/cudasharedmemory/status"): "infer",
    ("POST", "/v2/cudasharedmemory/unregister"): "infer",
    ("GET", "/v2/cudasharedmemory/region/{region}/status"): "infer",
    ("POST", "/v2/cudasharedmemory/region/{region}/register"): "infer",
    ("POST", "/v2/cudasharedmemory/region/{region}/unregister"): "infer",
    ("GET", "/v2/banks"): "infer",
    ("GET", "/v2/banks/{bank}"): "infer",
    ("PUT", "/v2/banks/{bank}"): "banks",
    ("DELETE", "/v2/banks/{bank}"): "banks",
    ("POST", "/v2/banks/{bank}/clear"): "banks",
    ("GET", "/v2/banks/{bank}/checkpoints"): "infer",
    ("PUT", "/v2/banks/{bank}/checkpoints/{tag}"): "banks",
    ("DELETE", "/v2/banks/{bank}/checkpoints/{tag}"): "banks",
    ("POST", "/v2/banks/{bank}/checkpoints/{tag}/restore"): "banks",
}
SCOPES = {"none": None, "wrong": None, "infer": {"infer"}, "banks": {"banks"}, "metrics": {"metrics"},
          "all": {"infer", "banks", "metrics"}}
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")


def token(who):
    return f"the-token-of-{who}-{len(who):08}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    tokens = folder / "tokens"
    lines = [f"{who} {who} {token(who)}" for who in SCOPES if SCOPES[who]]
    tokens.write_text("\n".join(lines) + "\n")
    tokens.chmod(0o600)
    daemon = Daemon(folder, "--tokens", tokens, "--data", folder / "data")
    yield daemon
    assert_ended_well(daemon)


def test_every_route_is_in_this_table():
    found = set(re.findall(r'\{"(GET|POST|PUT|DELETE|HEAD|PATCH)", "([^"]+)"', SOURCE.read_text()))
    assert found == set(ROUTES)


def bearer(who):
    return [] if who == "none" else [f"Authorization: Bearer {token(who)}"]


def path_of(pattern):
    # Names that exist where reading must work for those who may; what is missing is a 404, which only they get to see.
    return pattern.replace("{model}", "ap").replace("{bank}", "nobody").replace("{tag}", "t").replace("{region}", "r")


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r[0]} {r[1]}")
def test_who_gets_in(guarded, route):
    method, pattern = route
    for who, scopes in SCOPES.items():
        answer = ask(guarded, method, path_of(pattern), headers=bearer(who))
        wanted = ROUTES[route]
        if wanted is EVERYBODY:
            assert answer.status == 200, who
        elif scopes is None:
            assert answer.status == 401 and answer.headers["www-authenticate"].startswith("Bearer"), (who, answer.status)
            assert token(who) not in answer.error
        elif wanted not in scopes:
            assert answer.status == 403 and wanted in answer.error, (who, answer.status, answer.error)
        else:
            assert answer.status not in (401, 403), (who, answer.error)


@pytest.mark.parametrize("pattern", sorted({pattern for _, pattern in ROUTES}))
def test_other_methods_tell_a_stranger_nothing_and_do_nothing(guarded, pattern):
    for method in METHODS:
        if (method, pattern) in ROUTES:
            continue
        for who in SCOPES:
            assert ask(guarded, method, path_of(pattern), headers=bearer(who)).status in (401, 403, 405, 501), (method, who)


@pytest.mark.parametrize("header", ["Basic {}", "Bearer", "Bearer ", "Bearer  {} x", "bearer{}", "Token {}", "Bearer {}x", "Bearer x{}"])
def test_a_header_of_another_form_is_no_token(guarded, header):
    answer = ask(guarded, "GET", "/v2/models/ap", headers=["Authorization: " + header.format(token("all"))])
    assert answer.status == 401
    assert token("all") not in answer.error


def test_two_headers_are_not_a_choice(guarded):
    answer = ask(guarded, "GET", "/v2/models/ap", headers=[*bearer("wrong"), *bearer("all")])
    assert answer.status in (400, 401)
