# SPDX-License-Identifier: Apache-2.0
"""A bare Debian 12 from Debian's own packages, as a tar file: the base of the images and machines
of these tests."""
import os
from pathlib import Path

from page import documented
from shell import sh

MAKE, IMPORT, BUILD_IMAGE = documented("mmdebstrap")


def debian_base(folder):
    """The path FOLDER/base.tar; the file is made once."""
    made, part = Path(folder) / "base.tar", Path(folder) / "part"
    if not made.exists():
        part.mkdir(parents=True, exist_ok=True)
        sh("sh", "-c", MAKE, cwd=part)
        os.rename(part / made.name, made)
        part.rmdir()
    return made
