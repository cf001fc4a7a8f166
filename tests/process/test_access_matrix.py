# SPDX-License-Identifier: Apache-2.0
"""Every route with no token, a wrong one, one of each scope, one with all scopes, and as a page of
another site would call it. The expected answers are listed here, once. The routes come from the
daemon's own table."""
import base64
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import BUILD, Daemon, assert_ended_well
from support_http import GOOD, ask, routes

ALL = {"infer", "banks", "metrics"}
HOLDERS = {"none": None, "wrong": None, "infer": {"infer"}, "banks": {"banks"}, "metrics": {"metrics"}, "all": ALL}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
MEMORY = f"rankd_matrix_{os.getpid()}"  # 64 bytes in /dev/shm, also used as memory of the emulated device
SYSTEM, DEVICE = "/v2/systemsharedmemory", "/v2/cudasharedmemory"
HANDLE = base64.b64encode(f"/{MEMORY}".encode().ljust(64, b"\0")).decode()
BANK = {"kind": "embeddings", "dim": 2, "capacity": 8, "durability": "none"}


class Row(NamedTuple):
    scope: str             # that a caller must have; "none": no token is needed
    missing: int = None    # the status if the path names something that does not exist
    body: object = b""     # the body; if there is one, an empty body is a 400
    there: int = 200       # the status otherwise


ROUTES = {
    ("GET", "/"): Row("none"),
    ("GET", "/v2"): Row("none"),
    ("GET", "/v2/health/live"): Row("none"),
    ("GET", "/v2/health/ready"): Row("none"),
    ("GET", "/metrics"): Row("metrics"),
    ("POST", "/v2/repository/index"): Row("infer"),
    ("GET", "/v2/models/stats"): Row("infer"),
    ("GET", "/v2/models/{model}"): Row("infer", 404),
    ("GET", "/v2/models/{model}/ready"): Row("infer", 404),
    ("GET", "/v2/models/{model}/config"): Row("infer", 404),
    ("GET", "/v2/models/{model}/stats"): Row("infer", 404),
    ("POST", "/v2/models/{model}/infer"): Row("infer", 404, GOOD),
    ("GET", f"{SYSTEM}/status"): Row("infer"),
    ("POST", f"{SYSTEM}/unregister"): Row("infer"),
    ("GET", f"{SYSTEM}/region/{{region}}/status"): Row("infer", 404),
    ("POST", f"{SYSTEM}/region/{{region}}/register"): Row("infer", 200, {"key": MEMORY, "byte_size": 64}),
    ("POST", f"{SYSTEM}/region/{{region}}/unregister"): Row("infer", 200),
    ("GET", f"{DEVICE}/status"): Row("infer"),
    ("POST", f"{DEVICE}/unregister"): Row("infer"),
    ("GET", f"{DEVICE}/region/{{region}}/status"): Row("infer", 404),
    ("POST", f"{DEVICE}/region/{{region}}/register"): Row("infer", 200,
                                                          {"raw_handle": {"b64": HANDLE}, "device_id": 0, "byte_size": 64}),
    ("POST", f"{DEVICE}/region/{{region}}/unregister"): Row("infer", 200),
    ("GET", "/v2/store"): Row("infer", there=404),  # this daemon has none
    ("GET", "/v2/banks"): Row("infer"),
    ("GET", "/v2/banks/{bank}"): Row("infer", 404),
    ("PUT", "/v2/banks/{bank}"): Row("banks", 200, BANK),
    ("DELETE", "/v2/banks/{bank}"): Row("banks", 404),
    ("POST", "/v2/banks/{bank}/clear"): Row("banks", 404),
    ("GET", "/v2/banks/{bank}/checkpoints"): Row("infer", 404),
    ("PUT", "/v2/banks/{bank}/checkpoints/{tag}"): Row("banks", 404),
    ("DELETE", "/v2/banks/{bank}/checkpoints/{tag}"): Row("banks", 404),
    ("POST", "/v2/banks/{bank}/checkpoints/{tag}/restore"): Row("banks", 404),
}
NAMES = {"{model}": "ap", f"{SYSTEM}/region/{{region}}": f"{SYSTEM}/region/here",
         f"{DEVICE}/region/{{region}}": f"{DEVICE}/region/device", "{bank}": "here", "{tag}": "here"}


def path_of(pattern, there=True):
    for brace, name in NAMES.items():
        pattern = pattern.replace(brace, name) if there else re.sub(r"\{\w+\}", "nothere", pattern)
    return pattern


def token(who):
    return f"the-token-of-{who}-{len(who):08}"


def bearer(who):
    return [] if who == "none" else [f"Authorization: Bearer {token(who)}"]


@pytest.fixture(scope="module")
def memory():
    path = Path("/dev/shm") / MEMORY
    path.write_bytes(bytes(64))
    yield path
    path.unlink()


def with_everything(folder, *flags):
    """A daemon with the objects of every route: banks on disk, registered memory, an (emulated)
    device."""
    return Daemon(folder, "--data", folder / "data", "--device", "cuda:0", "--device-plugin", BUILD / "emulated-device.so",
                  *flags)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, memory):
    folder = tmp_path_factory.mktemp("tokens")
    tokens = folder / "tokens"
    tokens.write_text("".join(f"{who} {','.join(scopes)} {token(who)}\n" for who, scopes in HOLDERS.items() if scopes))
    tokens.chmod(0o600)
    daemon = with_everything(folder, "--tokens", tokens, "--allow-shm-regions")
    yield daemon
    assert_ended_well(daemon)


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory):
    daemon = with_everything(tmp_path_factory.mktemp("open"), "--allow-hosts", "rankd.example")
    yield daemon
    assert_ended_well(daemon)


def furnish(daemon, owner="all"):
    """Creates the objects that the paths name: a bank with a checkpoint, and regions of the
    owner."""
    for bank in ("nothere", "here"):
        ask(daemon, "DELETE", f"/v2/banks/{bank}", headers=bearer("all"))
    assert ask(daemon, "PUT", "/v2/banks/here", BANK, bearer("all")).status == 200
    assert ask(daemon, "PUT", "/v2/banks/here/checkpoints/here", headers=bearer("all")).status == 200
    for kind in (SYSTEM, DEVICE):
        for who in ("infer", "all"):  # memory of a device has one owner at a time
            ask(daemon, "POST", f"{kind}/unregister", headers=bearer(who))
        register = f"{kind}/region/{{region}}/register"
        ask(daemon, "POST", path_of(register), ROUTES["POST", register].body, bearer(owner))


def empty(daemon, route):
    """Frees the name for a route that accepts a name only once."""
    if route == ("PUT", "/v2/banks/{bank}/checkpoints/{tag}"):
        ask(daemon, "DELETE", path_of(route[1]), headers=bearer("all"))
    if route[1].endswith("/register"):
        for who in ("infer", "all"):
            ask(daemon, "POST", route[1].replace("/region/{region}/register", "/unregister"), headers=bearer(who))


def furniture(daemon):
    """All objects, as a caller with all scopes sees them."""
    paths = ("/v2/banks", "/v2/banks/here", "/v2/banks/here/checkpoints", f"{SYSTEM}/status", f"{DEVICE}/status")
    return [json.loads(ask(daemon, "GET", path, headers=bearer("all")).body) for path in paths]


def test_the_routes_and_their_scopes_are_those_of_the_table():
    assert routes() == {route: row.scope for route, row in ROUTES.items()}


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r[0]} {r[1]}")
def test_who_is_kept_out_learns_nothing_and_changes_nothing(guarded, route):
    method, pattern = route
    row = ROUTES[route]
    furnish(guarded)
    before = furniture(guarded)
    for who, scopes in HOLDERS.items():
        if row.scope == "none" or row.scope in (scopes or ()):
            continue
        for there in (True, False):
            answer = ask(guarded, method, path_of(pattern, there), row.body, bearer(who))
            assert set(answer.json()) == {"error"} and token(who) not in answer.error
            if scopes is None:
                assert answer.status == 401 and answer.headers["www-authenticate"] == "Bearer", who
            else:
                assert answer.status == 403 and f"'{row.scope}'" in answer.error, who
    assert furniture(guarded) == before


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r[0]} {r[1]}")
def test_who_may_gets_what_the_route_gives(guarded, route):
    method, pattern = route
    row = ROUTES[route]
    for who, scopes in HOLDERS.items():
        if row.scope != "none" and row.scope not in (scopes or ()):
            continue
        furnish(guarded, owner=who if scopes and "infer" in scopes else "all")
        empty(guarded, route)
        assert ask(guarded, method, path_of(pattern), row.body, bearer(who)).status == row.there, who
        if row.missing:
            empty(guarded, route)
            assert ask(guarded, method, path_of(pattern, there=False), row.body, bearer(who)).status == row.missing, who
        if row.body:
            assert ask(guarded, method, path_of(pattern), b"", bearer(who)).status == 400, who


@pytest.mark.parametrize("pattern", sorted({pattern for _, pattern in ROUTES}))
def test_other_methods_are_405_for_everybody_and_do_nothing(guarded, pattern):
    allowed = {method for method, p in ROUTES if p == pattern}
    furnish(guarded)
    before = furniture(guarded)
    for method in METHODS:
        for who in HOLDERS:
            if method in allowed or (method == "HEAD" and "GET" in allowed):
                continue
            answer = ask(guarded, method, path_of(pattern), headers=bearer(who))
            if method == "OPTIONS":
                implied = {"OPTIONS"} | ({"HEAD"} if "GET" in allowed else set())
                assert (answer.status, answer.body) == (200,
                                                        b"") and set(answer.headers["allow"].split(", ")) == allowed | implied
                continue
            assert answer.status == 405 and set(answer.headers["allow"].split(", ")) == allowed, (method, who)
    assert furniture(guarded) == before


@pytest.mark.parametrize("pattern", sorted(pattern for method, pattern in ROUTES if method == "GET"))
def test_head_is_get_without_the_body(guarded, pattern):
    for who in HOLDERS:
        furnish(guarded, owner=who if "infer" in (HOLDERS[who] or ()) else "all")
        head, get = (ask(guarded, method, path_of(pattern), headers=bearer(who)) for method in ("HEAD", "GET"))
        assert head.status == get.status and head.body == b"", who


SITES = {"another site": (["Origin: http://evil.example"], "localhost"), "a page from a file": (["Origin: null"], "localhost"),
         "another port": (["Origin: http://localhost:1"], "localhost"), "a name of its own": ([], "evil.example"),
         "a name of its own, as both": (["Origin: http://evil.example"], "evil.example")}


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r[0]} {r[1]}")
def test_a_page_of_another_site_gets_nowhere(unguarded, guarded, route):
    method, pattern = route
    furnish(unguarded)
    before = furniture(unguarded)
    for site, (headers, host) in SITES.items():
        answer = ask(unguarded, method, path_of(pattern), ROUTES[route].body, headers, host=host)
        assert answer.status == 403 and ("Origin" in answer.error or "Host" in answer.error), site
        assert "access-control-allow-origin" not in answer.headers
    assert furniture(unguarded) == before
    # A page of another site has no token, so the host name that it used does not matter.
    answer = ask(guarded, method, path_of(pattern), ROUTES[route].body, [*bearer("all"), "Origin: http://evil.example"])
    assert answer.status == 403 and "Origin" in answer.error


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{r[0]} {r[1]}")
def test_the_daemons_own_page_and_the_names_it_was_given_are_let_in(unguarded, route):
    method, pattern = route
    row = ROUTES[route]
    refused = "memory" in pattern  # without tokens, memory can't be registered
    for host in ("localhost", "127.0.0.1", "[::1]:8080", "rankd.example"):
        for headers in ([], [f"Origin: http://{host}"]):
            furnish(unguarded)
            empty(unguarded, route)
            status = ask(unguarded, method, path_of(pattern), row.body, headers, host=host).status
            assert status == (501 if refused else row.there), (host, headers)


@pytest.mark.parametrize("header", ["Basic {}", "Bearer", "Bearer ", "Bearer  {} x", "bearer{}", "Token {}", "Bearer {}x",
                                    "Bearer x{}"])
def test_a_header_of_another_form_is_no_token(guarded, header):
    answer = ask(guarded, "GET", "/v2/models/ap", headers=["Authorization: " + header.format(token("all"))])
    assert answer.status == 401
    assert token("all") not in answer.error


def test_two_headers_are_not_a_choice(guarded):
    answer = ask(guarded, "GET", "/v2/models/ap", headers=[*bearer("wrong"), *bearer("all")])
    assert answer.status == 400 and "Authorization" in answer.error
