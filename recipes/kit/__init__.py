# SPDX-License-Identifier: Apache-2.0
"""Shared by all recipes: data, runs and their results, the daemon, tables and curves."""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "clients/python")]  # this checkout's rankd
