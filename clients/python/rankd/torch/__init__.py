# SPDX-License-Identifier: Apache-2.0
"""Losses for PyTorch that the rankd daemon computes.

    crit = rankd.torch.APLoss(margin=0.05)              # scores and targets, any shape of problem
    crit(scores, targets).backward()

    crit = rankd.torch.NDCGLoss(margin=1.0, top_k=10)    # graded targets: search, recommendation
    crit(scores, grades).backward()

    crit = rankd.torch.RetrievalLoss("ap", bank="run1")  # embeddings and labels, with cross-batch memory
    crit(embeddings, labels).backward()

All losses work on any device and in float16, bfloat16, float32 and float64, under autocast and
GradScaler, with gradient accumulation, and from several trainers at once.
"""
from .binary import APLoss, RecallLoss
from .calibration import Calibration
from .checkpoint import restore_bank, save_bank
from .detection import DetectionAPLoss
from .graded import MRRLoss, NDCGLoss, ScoresLoss
from .monitoring import Monitor, monitor
from .ranking import blackbox_rank, ranks
from .retrieval import RetrievalLoss

__all__ = ["APLoss", "Calibration", "DetectionAPLoss", "MRRLoss", "Monitor", "NDCGLoss", "RecallLoss", "RetrievalLoss",
           "ScoresLoss", "blackbox_rank", "monitor", "ranks", "restore_bank", "save_bank"]
