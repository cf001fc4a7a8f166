# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/howto/deployment.md, which these tests run unchanged."""
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/howto/deployment.md"


def documented(first):
    """The commands of the `sh deploy` block that begins with `first`, without comments."""
    block = re.search(rf"^```sh deploy\n({re.escape(first)}.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert block, f"no block of {PAGE.name} begins with '{first}'"
    return [line.split("  #")[0].strip() for line in block[1].splitlines()]
