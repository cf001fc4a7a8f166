# SPDX-License-Identifier: Apache-2.0
"""Monitoring: metrics follow Prometheus' own rules, and alerts and dashboard use metrics that the
daemon has."""
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import BUILD, Daemon, assert_ended_well

sys.path.append(str(Path(__file__).resolve().parents[1] / "process"))
from support_store import Store, StoreDaemon  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/rankd.json").read_text())
RULES = ROOT / "deploy/prometheus/rankd.rules.yml"


def get(daemon, path):
    with urllib.request.urlopen(daemon.url + path, timeout=30) as reply:
        return reply.read().decode()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """With an (emulated) device, so that its metrics are there too."""
    shared = Daemon(tmp_path_factory.mktemp("daemon"), "--device", "cuda:0", "--device-plugin", BUILD / "emulated-device.so",
                    "--data", tmp_path_factory.mktemp("data"))
    yield shared
    assert_ended_well(shared)


def put_bank(daemon, name, **config):
    put = urllib.request.Request(f"{daemon.url}/v2/banks/{name}", method="PUT", data=json.dumps(config).encode())
    urllib.request.urlopen(put, timeout=30).read()


@pytest.fixture(scope="module")
def metrics(daemon):
    body = json.dumps({"parameters": {"lambda": 10}, "inputs": [
        {"name": "scores", "shape": [1, 4], "datatype": "FP32", "data": [4, 3, 2, 1]},
        {"name": "targets", "shape": [1, 4], "datatype": "INT8", "data": [0, 1, 0, 1]}]}).encode()
    for model in "ap", "recall":
        urllib.request.urlopen(f"{daemon.url}/v2/models/{model}/infer", body, timeout=30).read()
    put_bank(daemon, "watched", kind="embeddings", dim=2, capacity=8, durability="none")
    put_bank(daemon, "remembered", kind="scores", lists=1, capacity=8, durability="always")
    return get(daemon, "/metrics")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Of a daemon with banks in a store."""
    store = Store(tmp_path_factory.mktemp("store"))
    daemon = StoreDaemon(tmp_path_factory.mktemp("shared"), store)
    put_bank(daemon, "shared", kind="scores", lists=1, capacity=8)
    yield get(daemon, "/metrics")
    daemon.kill()
    store.kill()


def promtool(*arguments, **more):
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_finds_nothing_to_say_about_the_metrics(metrics, stored):
    assert promtool("check", "metrics", input=metrics).strip() == ""
    assert promtool("check", "metrics", input=stored).strip() == ""


def test_the_share_of_zero_gradient_can_be_had(metrics):
    for name in "rankd_gradient_items_total", "rankd_gradient_nonzero_total":
        assert int(re.search(rf'^{name}{{model="ap"}} (\d+)', metrics, re.M)[1]) == 4


def ask_bank(daemon, bank, scores, **parameters):
    """The reply's parameters to a loss of one list, its second item relevant."""
    body = json.dumps({"parameters": {"lambda": 10, "bank": bank, **parameters}, "inputs": [
        {"name": "scores", "shape": [1, 4], "datatype": "FP32", "data": scores},
        {"name": "targets", "shape": [1, 4], "datatype": "INT8", "data": [0, 1, 0, 0]}]}).encode()
    with urllib.request.urlopen(f"{daemon.url}/v2/models/ap/infer", body, timeout=30) as reply:
        return json.load(reply)["parameters"]


def sample(text, name):
    return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)[1])


def test_the_share_of_gradient_that_a_score_bank_takes_can_be_had(daemon):
    put_bank(daemon, "drops", kind="scores", lists=1, capacity=8, durability="none")
    replies = [ask_bank(daemon, "drops", scores) for scores in ([4, 3, 2, 1], [1, 2, 3, 4], [8, 5, 1, 1])]
    shares = [r["gradient_dropped"] for r in replies]
    assert any(0 < share < 1 for share in shares)
    ask_bank(daemon, "drops", [1, 2, 3, 4], **{"lambda": 1e-9})  # a gradient of zero has no share
    text = get(daemon, "/metrics")
    assert sample(text, 'rankd_bank_gradient_dropped_total{bank="drops"}') == pytest.approx(sum(shares), abs=1e-8)
    assert sample(text, 'rankd_bank_gradients_total{bank="drops"}') == 3
    assert 'rankd_bank_gradients_total{bank="watched"}' not in text  # of embeddings: nothing is dropped there


def test_syncs_are_a_histogram_of_each_bank(daemon):
    put_bank(daemon, "synced", kind="scores", lists=1, capacity=8, durability="always")
    for _ in range(3):
        ask_bank(daemon, "synced", [4, 3, 2, 1])
    text = get(daemon, "/metrics")
    buckets = [int(n) for n in re.findall(r'^rankd_bank_sync_seconds_bucket\{bank="synced",le="[^"]+"\} (\d+)$', text, re.M)]
    assert len(buckets) == 19 and buckets == sorted(buckets)
    assert buckets[-1] == sample(text, 'rankd_bank_sync_seconds_count{bank="synced"}') >= 3
    assert sample(text, 'rankd_bank_sync_seconds_sum{bank="synced"}') > 0


def test_prometheus_accepts_configuration_and_rules():
    said = promtool("check", "config", "--lint-fatal", ROOT / "deploy/prometheus/prometheus.yml")
    assert "1 rule files found" in said
    promtool("check", "rules", "--lint-fatal", RULES)


def test_each_alert_fires_when_it_must_and_only_then():
    promtool("test", "rules", ROOT / "tests/ops/rules_test.yml")
    tested = set(re.findall(r"alertname: (\w+)", (ROOT / "tests/ops/rules_test.yml").read_text()))
    assert tested == set(re.findall(r"- alert: (\w+)", RULES.read_text()))


def families(metrics):
    """name -> label names, for every sample name there is."""
    found = {"up": {"job", "instance"}}
    for name, labels in re.findall(r"^([a-z_]+)(?:\{(.*)\})? ", metrics, re.M):
        found.setdefault(name, set()).update({"job", "instance"}, re.findall(r"(\w+)=\"", labels))
    return found


WORDS = {"sum", "by", "rate", "histogram_quantile", "min", "max", "time", "changes", "label_values", "job", "instance", "avg",
         "increase", "and", "or"}


def check(expression, known):
    expression = re.sub(r"\[[^]]*\]", "", expression)
    for labels in re.findall(r"by \(([^)]*)\)", expression):
        wanted = {w.strip() for w in labels.split(",")}
        names = [n for n in re.findall(r"\b((?:rankd|process)_\w+)", expression)]
        assert all(wanted <= known[n] for n in names if n in known), f"{expression}: {wanted}"
    bare = re.sub(r"by \([^)]*\)", "", re.sub(r"\{[^}]*\}", "", expression))
    for name in re.findall(r"[a-zA-Z_][\w:]*", bare):
        assert name in known or name in WORDS or ":" in name, f"{expression}: there is no metric {name}"


def test_the_dashboard_uses_metrics_and_labels_that_exist(metrics, stored):
    known = families(metrics) | families(stored)
    expressions = [t["expr"] for p in DASHBOARD["panels"] for t in p.get("targets", [])]
    expressions += [v["query"]["query"] for v in DASHBOARD["templating"]["list"]]
    assert len(expressions) > 25
    for expression in expressions:
        check(expression, known)


def test_the_dashboards_panels_do_not_overlap_and_have_their_own_ids():
    panels = DASHBOARD["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    cells = [(x, y) for p in panels for g in [p["gridPos"]] for x in range(g["x"], g["x"] + g["w"])
             for y in range(g["y"], g["y"] + g["h"])]
    assert len(set(cells)) == len(cells) and all(x < 24 for x, _ in cells)


def test_the_alerts_use_metrics_that_exist(metrics, stored):
    known = families(metrics) | families(stored)
    for block in re.findall(r"expr: >\n((?:          .*\n)+)|expr: (?!>)(.*)\n", RULES.read_text()):
        check(" ".join("".join(block).split()), known)


def test_the_reference_lists_every_metric(metrics):
    page = (ROOT / "docs/reference/metrics.md").read_text()
    listed, told = set(re.findall(r"^\| `(\w+)`", page, re.M)), set(re.findall(r"^# TYPE (\w+)", metrics, re.M))
    assert listed and listed == told


def test_the_status_page_needs_nothing_from_outside_and_names_metrics_that_exist(daemon, metrics):
    page = get(daemon, "/")
    assert page == (ROOT / "server/api/status.html").read_text()
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page) and "@import" not in page
    known = families(metrics)
    for name in set(re.findall(r"\"((?:rankd|process)_\w+)\"", page)):
        assert name in known or f"{name}_bucket" in known, name


def test_rankctl_names_metrics_that_exist(metrics):
    known = families(metrics)
    for name in set(re.findall(r"\"(rankd_\w+)\"", (ROOT / "clients/ctl/status.c").read_text())):
        assert name in known or f"{name}_bucket" in known, name
