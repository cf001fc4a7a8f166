# SPDX-License-Identifier: Apache-2.0
"""Runs a command, and shows its output if it fails."""
import subprocess


def sh(*command, check=True, timeout=3600, **more):
    """`timeout` is for commands that hang; a build may take half an hour on a busy machine."""
    done = subprocess.run([str(c) for c in command], text=True, capture_output=True, timeout=timeout, **more)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}\nexit "
                             f"{done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done
