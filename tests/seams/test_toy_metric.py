# SPDX-License-Identifier: Apache-2.0
"""A metric, a setting and a route are one row each: added to a copy of the tree, which is built,
they appear in all places."""
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import conftest
import own_make
import pytest

ROOT = Path(__file__).resolve().parents[2]


class Tree:
    """A copy of the sources and of their build, so that make builds only the parts that a change
    affects."""

    def __init__(self, folder):
        self.folder = folder
        shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns("build", ".git", "__pycache__"))
        if conftest.BUILD == ROOT / "build":  # another build has other flags
            shutil.copytree(ROOT / "build/obj", folder / "build/obj")

    def read(self, path):
        return (self.folder / path).read_text()

    def append(self, path, rows):
        """The rows at the end of a table."""
        with open(self.folder / path, "a") as file:
            file.write(rows)

    def make(self, *targets):
        done = subprocess.run(["make", f"-j{len(os.sched_getaffinity(0))}", *targets], cwd=self.folder,
                              env=own_make.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-8000:]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = Tree(tmp_path_factory.mktemp("seams") / "tree")
    tree.append("server/config/config.def", """
RK_OPT_COUNT(toy_count, "toy-count", 40, 0, 100, "Toys that there are.")
RK_OPT_WORD(toy_kind, "toy-kind", RK_TOY_WOOD, "wood|tin", "What toys are made of.", RK_TOY_WOOD, RK_TOY_TIN)
""")
    tree.append("server/exec/gauges.def", """
RK_GAUGE("rankd_toys", GAUGE, NONE, from->config->toy_count + (from->config->toy_kind == RK_TOY_TIN),
         "Toys, and one where they are of tin.")
""")
    tree.append("server/base/metrics.def", """
RK_METRIC(toy_looks, "rankd_toy_looks_total", COUNTER, NONE, NONE, "Looks at toys.")
""")
    tree.append("server/api/route.def", """
RK_ROUTE("GET", "/v2/toys/{toy}", NONE, LIGHT, rk_api_toy)
""")
    (tree.folder / "server/api/toy.c").write_text("""#include "api/answer.h"
#include "api/route.h"

RK_HANDLER(rk_api_toy)
{
    struct rk_text out = {0};
    (void)env, (void)call;
    rk_json_open(&out, NULL, '{');
    rk_json_text(&out, "toy", match->names[0]);
    rk_json_close(&out, '}');
    return rk_answer_text(answer, &out, err);
}
""")
    tree.make("build/rankd", "reference", "pages")
    return tree


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


@pytest.fixture
def toys(tree, make_daemon, monkeypatch):
    monkeypatch.setattr(conftest, "BUILD", tree.folder / "build")
    return make_daemon


def test_the_metrics_are_counted_and_looked_up(toys):
    text = get(toys().url + "/metrics")
    assert "# HELP rankd_toys Toys, and one where they are of tin.\n# TYPE rankd_toys gauge\nrankd_toys 40\n" in text
    assert "# HELP rankd_toy_looks_total Looks at toys.\n# TYPE rankd_toy_looks_total counter\nrankd_toy_looks_total 0\n" in text


def test_the_setting_is_read_from_the_command_line_the_environment_and_a_file(toys, tmp_path):
    (tmp_path / "file").write_text("toy-count = 7\ntoy-kind = tin\n")
    assert "\nrankd_toys 8\n" in get(toys("--config", tmp_path / "file").url + "/metrics")
    assert "\nrankd_toys 10\n" in get(toys("--config", tmp_path / "file", env={"RANKD_TOY_COUNT": "9"}).url + "/metrics")
    assert "\nrankd_toys 11\n" in get(toys("--toy-count", 11, "--toy-kind", "wood", env={"RANKD_TOY_KIND": "tin"}).url
                                      + "/metrics")


def test_the_setting_is_checked(tree):
    for arguments, said in ((["--toy-count", "101"], "a whole number from 0 to 100"), (["--toy-kind", "lead"], "wood or tin")):
        done = subprocess.run([tree.folder / "build/rankd", *arguments, "--check-config"], capture_output=True, text=True)
        assert done.returncode == 2 and arguments[1] in done.stderr and said in done.stderr, done.stderr


def test_the_route_is_served(toys):
    daemon = toys()
    assert get(daemon.url + "/v2/toys/horse") == '{"toy":"horse"}'
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(daemon.url + "/v2/toys/horse", method="PUT"), timeout=10)
    assert refused.value.code == 405 and refused.value.headers["Allow"].startswith("GET")


def test_help_and_the_documentation_have_them(tree):
    text = subprocess.run([tree.folder / "build/rankd", "--help"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"--toy-count\n +Toys that there are\.\n +Default: 40\. May be a whole number from 0 to 100\.", text)
    assert re.search(r"--toy-kind\n +What toys are made of\.\n +Default: wood\. May be wood or tin\.", text)
    settings = tree.read("docs/reference/configuration.md")
    assert re.search(r"^\| `toy-count` \| `40` \|.*Toys that there are", settings, re.M)
    assert re.search(r"^\| `toy-kind` \| `wood` \|.*What toys are made of", settings, re.M)
    metrics = tree.read("docs/reference/metrics.md")
    assert "| `rankd_toys` | gauge |  | Toys, and one where they are of tin. |" in metrics
    assert "| `rankd_toy_looks_total` | counter |  | Looks at toys. |" in metrics
    assert "| `GET /v2/toys/{toy}` | none |" in tree.read("docs/reference/routes.md")
    assert "# It may be wood|tin.\n#toy-kind = wood\n" in tree.read("build/pages/rankd.conf")
