# SPDX-License-Identifier: Apache-2.0
"""A command, and what it said if it fails."""
import subprocess


def sh(*command, check=True, timeout=540, **more):
    done = subprocess.run([str(c) for c in command], text=True, capture_output=True, timeout=timeout, **more)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}\nexit {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done
