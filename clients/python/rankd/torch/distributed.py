# SPDX-License-Identifier: Apache-2.0
"""The size of the job, from torch.distributed."""
from __future__ import annotations

import torch.distributed as dist


def trainers() -> int:
    """Processes of the job; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
