# SPDX-License-Identifier: Apache-2.0
"""The status page in a real browser: on a desktop and on a phone, in light and dark mode."""
import json
import urllib.request

import pytest

from browser import Browser
from conftest import Daemon, assert_ended_well

PHONE, DESK = 390, 1100
LONG = "a" * 64  # the longest possible name, without a place for a line break
TOKEN = "the-token-of-the-page-0001"


@pytest.fixture(scope="module")
def browser():
    running = Browser()
    yield running
    running.close()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    running = Daemon(folder, "--data", folder / "data")
    put(running, "/v2/banks/memory", {"kind": "embeddings", "dim": 2, "capacity": 1234567, "durability": "none"})
    put(running, f"/v2/banks/{LONG}", {"kind": "scores", "lists": 1, "capacity": 100, "durability": "none"})
    yield running
    assert_ended_well(running)


def put(daemon, path, body):
    request = urllib.request.Request(daemon.url + path, json.dumps(body).encode(), method="PUT")
    urllib.request.urlopen(request, timeout=30).read()


def infer(daemon, lists=1, **parameters):
    body = {"parameters": parameters, "inputs": [
        {"name": "scores", "shape": [lists, 4], "datatype": "FP32", "data": [4, 3, 2, 1] * lists},
        {"name": "targets", "shape": [lists, 4], "datatype": "INT8", "data": [0, 1, 0, 1] * lists}]}
    try:
        urllib.request.urlopen(daemon.url + "/v2/models/ap/infer", json.dumps(body).encode(), timeout=30).read()
    except urllib.error.HTTPError as refused:
        refused.close()


def shown(browser, daemon, width, dark=False):
    """The page after its second reading of the metrics, the first one with figures."""
    page = browser.open(daemon.url, width, dark=dark, mobile=width < 500)
    page.wait_for("document.querySelector('#banks td') !== null")
    infer(daemon)
    infer(daemon, margin=-1)
    page.wait_for("before !== null && document.querySelector('#rejects td') !== null && history['In flight']?.length > 0")
    return page


def test_whole_numbers_read_as_whole_numbers_and_measures_have_three_digits(browser, daemon):
    page = shown(browser, daemon, DESK)
    say = {"count(3)": "3", "count(16384)": "16,384", "count(0)": "0", "pace(3)": "3", "pace(0)": "0", "pace(0.5)": "0.500",
           "pace(12.345)": "12.3", "pace(999.7)": "1.00k", "pace(1234567)": "1.23M", "bytes(0)": "0 B", "bytes(5)": "5 B",
           "bytes(1536)": "1.50 KiB", "bytes(1023.8)": "1.00 KiB", "time(0.0005)": "500 µs", "time(NaN)": "–",
           "share(1, 3)": "33.33 %"}
    assert {expression: page.value(expression) for expression in say} == say
    banks = page.value("[...document.querySelectorAll('#banks tbody tr')].map(tr => [...tr.cells].map(td => td.textContent))")
    assert ["memory", "embeddings", "0", "1,234,567"] in [row[:4] for row in banks]
    assert page.value("document.querySelector('#rejects tbody td:last-child').textContent").isdigit()


def test_what_it_shows_is_what_the_daemon_did(browser, daemon):
    page = shown(browser, daemon, DESK)
    looks = page.value("history['Requests/s'].length")
    for _ in range(40):
        infer(daemon, lists=3)
    page.wait_for(f"history['Requests/s'].length >= {looks + 2}")
    rates = page.value("history['Requests/s']")
    assert max(rates) > 1
    transports = page.value("Object.fromEntries([...document.querySelectorAll('#transports tbody tr')].map(tr => "
                            "[tr.cells[0].textContent, tr.cells[2].textContent]))")
    assert set(transports) == {"http json", "http binary", "ring"} and transports["ring"] == "in place"


@pytest.mark.parametrize("width", [320, PHONE, 700, DESK])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_cut_off_at_any_width(browser, daemon, width, dark):
    page = shown(browser, daemon, width, dark)
    assert page.value("document.documentElement.scrollWidth") <= width
    cut = page.value("[...document.querySelectorAll('main *')].filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1)"
                     ".map(e => e.tagName + '#' + e.id + ': ' + e.textContent.slice(0, 40))")
    assert cut == []


CONTRASTS = """(() => {
  const parts = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = parts(c).map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                       return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; 
                                                            if ((parts(c)[3] ?? 1) === 1) return c; }
                        return "rgb(255, 255, 255)"; };
  const found = {};
  for (const e of document.querySelectorAll("main *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
    found[e.tagName + " " + e.className] = (a + 0.05) / (b + 0.05);
  }
  return found;
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_can_be_read_against_its_ground(browser, daemon, dark):
    page = shown(browser, daemon, DESK, dark)
    grounds = page.value("getComputedStyle(document.body).backgroundColor")
    assert (int(grounds.split("(")[1].split(",")[0]) < 64) == dark
    page.value("document.querySelector('#banks td').className = 'bad'")
    contrasts = page.value(CONTRASTS)
    assert len(contrasts) >= 6 and min(contrasts.values()) >= 4.5, contrasts  # WCAG 2.2, 1.4.3


def test_it_asks_nobody_but_the_daemon(browser, daemon):
    page = shown(browser, daemon, DESK)
    asked = page.value("performance.getEntriesByType('resource').map(e => e.name)")
    assert asked and all(url.startswith(daemon.url + "/") for url in asked), asked


def test_curves_grow_from_the_right_and_begin_with_the_first_figure(browser, daemon):
    page = shown(browser, daemon, DESK)
    lines = page.value("[...document.querySelectorAll('polyline')].map(l => l.getAttribute('points').split(' "
                       "').pop().split(',')[0])")
    assert lines == ["100.0"] * 4
    page.wait_for("history['Requests/s'].length >= 2")
    assert page.value("history['Requests/s'].length") == page.value("history['In flight'].length")


def test_figures_of_a_daemon_that_is_gone_look_old_until_it_is_back(browser, tmp_path):
    daemon = Daemon(tmp_path)
    page = browser.open(daemon.url, DESK)
    page.wait_for("document.querySelector('#state').textContent === 'ready' && !document.body.classList.contains('stale')")
    daemon.kill()
    page.wait_for("document.querySelector('#state').textContent === 'does not answer' && "
                  "document.body.classList.contains('stale')")
    daemon.http = f"127.0.0.1:{daemon.port}"
    daemon.start()
    page.wait_for("document.querySelector('#state').textContent === 'ready' && !document.body.classList.contains('stale')")
    assert_ended_well(daemon)


def test_it_asks_for_a_token_where_the_daemon_wants_one(browser, tmp_path):
    (tmp_path / "tokens").write_text(f"page metrics,infer {TOKEN}\n")
    (tmp_path / "tokens").chmod(0o600)
    daemon = Daemon(tmp_path, "--tokens", tmp_path / "tokens")
    page = browser.open(daemon.url, PHONE, mobile=True)
    page.wait_for("!document.querySelector('#ask').hidden && document.querySelector('#state').className === 'bad'")
    assert page.value("document.documentElement.scrollWidth") <= PHONE
    for token, end in (("not-a-token-of-this-daemon", "document.querySelector('#state').textContent.includes('not one of')"),
                       (TOKEN, "document.querySelector('#ask').hidden && document.querySelector('#models td') !== null")):
        page.value(f"document.querySelector('#token').value = {json.dumps(token)}; document.querySelector('#key').requestSubmit()")
        page.wait_for(end)
    assert page.value("document.querySelector('#links').hidden")
    assert_ended_well(daemon)
