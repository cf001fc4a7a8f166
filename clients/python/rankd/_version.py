# SPDX-License-Identifier: Apache-2.0
"""The version of this package, of the daemon and of librankd, from the one file that states it."""
from pathlib import Path

VERSION = (Path(__file__).parent / "VERSION").read_text(encoding="ascii").strip()
