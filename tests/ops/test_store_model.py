# SPDX-License-Identifier: Apache-2.0
"""The model of docs/performance-notes-store.md: it agrees with cases that are computed by hand, and
the page with the model."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "docs/images"))
import make_store_model as model  # noqa: E402


def test_one_host_waits_for_nobody():
    found = model.simulate(1, 65536, 0.1, "master", steps=200)
    append = 65536 / model.NETWORK + model.ROUND_TRIP + model.APPEND + 65536 * model.PER_BYTE
    assert found["p50"] == pytest.approx(append) and found["rate"] == pytest.approx(1 / (0.1 + append), rel=0.01)


@pytest.mark.parametrize("hosts, size", [(64, 65536), (128, 1 << 20)])
def test_a_busy_store_serves_one_after_the_other(hosts, size):
    found = model.simulate(hosts, size, 0.001, "master", steps=30)
    service = model.APPEND + size * model.PER_BYTE + (hosts - 1) * (model.COMMAND + size * model.PER_BYTE)
    assert found["rate"] == pytest.approx(1 / service, rel=0.01)


def test_a_tree_reaches_every_host():
    for hosts in range(1, 1001):
        copies, depth = model.fed(hosts, "tree")
        assert 1 <= copies <= model.FAN_OUT and model.FAN_OUT ** depth >= hosts and (depth == 1
            or model.FAN_OUT ** (depth - 1) < hosts)


def test_the_page_has_the_table_of_the_model():
    printed = subprocess.run([sys.executable, "-c", "import make_store_model as m; from pathlib import Path; Path.write_text = "
                                                    "lambda *a: 0; m.main()"],
                             capture_output=True, text=True, check=True, cwd=ROOT / "docs/images").stdout
    assert printed in (ROOT / "docs/performance-notes-store.md").read_text()
    assert (ROOT / "docs/images/store-model.svg").read_text() == model.draw(model.table())
