# SPDX-License-Identifier: Apache-2.0
"""Retrieval of clothes: the runs. The page is README.md."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from kit.retrieval import Recipe
from kit.runs import Table
from omniglot.recipe import CHOSEN

from .data import known_kinds, unseen_kinds

_STEPS, _MEMORY = 300, 1000


def _rows() -> dict[str, dict[str, Any]]:
    """The settings that Omniglot's validation alphabet chose: nothing was tuned on these images."""
    bank = {"bank": _MEMORY, "bank_start": _STEPS // 2}
    plain = {key: value for key, value in CHOSEN["ap"].items() if key != "gradient_scale"}
    return {"nt-xent": CHOSEN["nt-xent"], "rankd ap": CHOSEN["ap"], "rankd ap + bank": {**CHOSEN["ap"], **bank},
            "contrastive": CHOSEN["contrastive"], "supcon": CHOSEN["supcon"], "rankd recall": CHOSEN["recall"],
            "rankd ap, gradient as in the paper": plain}


RECIPE = Recipe(
    "fashion", Path(__file__).parent,
    [Table("known kinds", _rows(), {"split": "known", "batch": 40, "steps": _STEPS}, seeds=5),
     Table("unseen kinds", _rows(), {"split": "unseen", "batch": 40, "each": 8, "steps": _STEPS}, seeds=5)],
    {"known": known_kinds, "unseen": unseen_kinds},
    drawn=("nt-xent", "supcon", "contrastive", "rankd ap", "rankd ap + bank"), pictured=("unseen kinds", ("nt-xent", "rankd ap")))
