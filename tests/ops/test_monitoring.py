"""What is watched exists: metrics by Prometheus' own rules, alerts and dashboard on metrics that the daemon really has."""
import json
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/rankd.json").read_text())
RULES = ROOT / "deploy/prometheus/rankd.rules.yml"


def get(daemon, path):
    with urllib.request.urlopen(daemon.url + path, timeout=30) as reply:
        return reply.read().decode()


@pytest.fixture(scope="module")
def metrics(daemon):
    body = json.dumps({"parameters": {"lambda": 10}, "inputs": [
        {"name": "scores", "shape": [1, 4], "datatype": "FP32", "data": [4, 3, 2, 1]},
        {"name": "targets", "shape": [1, 4], "datatype": "INT8", "data": [0, 1, 0, 1]}]}).encode()
    for model in "ap", "recall":
        urllib.request.urlopen(f"{daemon.url}/v2/models/{model}/infer", body, timeout=30).read()
    put = urllib.request.Request(f"{daemon.url}/v2/banks/watched", method="PUT",
                                 data=b'{"kind":"embeddings","dim":2,"capacity":8,"durability":"none"}')
    urllib.request.urlopen(put, timeout=30).read()
    return get(daemon, "/metrics")


def promtool(*arguments, **more):
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_finds_nothing_to_say_about_the_metrics(metrics):
    assert promtool("check", "metrics", input=metrics).strip() == ""


def test_the_share_of_zero_gradient_can_be_had(metrics):
    for name in "rankd_gradient_items_total", "rankd_gradient_nonzero_total":
        assert int(re.search(rf'^{name}{{model="ap"}} (\d+)', metrics, re.M)[1]) == 4


def test_prometheus_accepts_configuration_and_rules():
    promtool("check", "config", ROOT / "deploy/prometheus/prometheus.yml")


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


WORDS = {"sum", "by", "rate", "histogram_quantile", "min", "max", "time", "changes", "label_values", "job", "instance", "avg", "increase"}


def check(expression, known):
    expression = re.sub(r"\[[^]]*\]", "", expression)
    for labels in re.findall(r"by \(([^)]*)\)", expression):
        wanted = {w.strip() for w in labels.split(",")}
        names = [n for n in re.findall(r"\b((?:rankd|process)_\w+)", expression)]
        assert all(wanted <= known[n] for n in names if n in known), f"{expression}: {wanted}"
    bare = re.sub(r"by \([^)]*\)", "", re.sub(r"\{[^}]*\}", "", expression))
    for name in re.findall(r"[a-zA-Z_][\w:]*", bare):
        assert name in known or name in WORDS or ":" in name, f"{expression}: there is no metric {name}"


def test_the_dashboard_uses_metrics_and_labels_that_exist(metrics):
    known = families(metrics)
    expressions = [t["expr"] for p in DASHBOARD["panels"] for t in p.get("targets", [])]
    expressions += [v["query"]["query"] for v in DASHBOARD["templating"]["list"]]
    assert len(expressions) > 25
    for expression in expressions:
        check(expression, known)


def test_the_dashboards_panels_do_not_overlap_and_have_their_own_ids():
    panels = DASHBOARD["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    cells = [(x, y) for p in panels for g in [p["gridPos"]] for x in range(g["x"], g["x"] + g["w"]) for y in range(g["y"], g["y"] + g["h"])]
    assert len(set(cells)) == len(cells) and all(x < 24 for x, _ in cells)


def test_the_alerts_use_metrics_that_exist(metrics):
    known = families(metrics)
    for block in re.findall(r"expr: >\n((?:          .*\n)+)|expr: (?!>)(.*)\n", RULES.read_text()):
        check(" ".join("".join(block).split()), known)


def test_the_reference_lists_every_metric_of_the_table(metrics):
    page = (ROOT / "docs/reference/metrics.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)`", page, re.M))
    assert listed and listed <= set(re.findall(r"^# TYPE (\w+)", metrics, re.M))


def test_the_status_page_needs_nothing_from_outside_and_names_metrics_that_exist(daemon, metrics):
    page = get(daemon, "/")
    assert page == (ROOT / "server/page/status.html").read_text()
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page) and "@import" not in page
    known = families(metrics)
    for name in set(re.findall(r"\"((?:rankd|process)_\w+)\"", page)):
        assert name in known or f"{name}_bucket" in known, name


def test_rankctl_names_metrics_that_exist(metrics):
    known = families(metrics)
    for name in set(re.findall(r"\"(rankd_\w+)\"", (ROOT / "clients/ctl/status.c").read_text())):
        assert name in known or f"{name}_bucket" in known, name
