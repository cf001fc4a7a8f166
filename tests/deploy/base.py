"""A bare Debian 12 from Debian's own packages, as a tar file: what images and machines of these tests begin with."""
import os
from pathlib import Path

from shell import sh


def debian_base(cache):
    cache = Path(cache)
    if not cache.exists():
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_suffix(".part.tar")
        sh("mmdebstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", part)
        os.rename(part, cache)
    return cache
