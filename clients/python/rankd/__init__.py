# SPDX-License-Identifier: Apache-2.0
"""Rank-based losses (AP, recall) and their blackbox gradients, computed by the rankd daemon.

    import rankd
    client = rankd.connect()              # a daemon of your own; or rankd.connect("http://127.0.0.1:8080")
    result = client.loss("ap", [[0.9, 0.8, 0.7, 0.6]], [[0, 1, 0, 1]], margin=0.0)
    result.loss, result.gradient          # 0.5, [[0.25, -0.25, 0.25, -0.25]]

In a PyTorch training, use the modules of rankd.torch; for evaluation, rankd.metrics.
"""
from ._names import LOSSES
from ._version import VERSION as __version__
from . import metrics
from .banks import Banks, BankState
from .client import Client, connect
from .errors import (CannotStart, Conflict, ConnectionFailed, ConnectionLost, DaemonDied, DeadlineExceeded, Forbidden,
                     InternalError, InvalidRequest, NoSpace, NotFound, Overloaded, ProtocolError, RankdError, RequestTimeout,
                     TooLarge, Unauthorized, Unsupported, Untrusted, WrongVerb)
from .local import local
from .results import LossInfo, LossResult
from .tensors import BF16

__all__ = [
    "BF16", "BankState", "Banks", "CannotStart", "Client", "Conflict", "ConnectionFailed", "ConnectionLost", "DaemonDied",
    "DeadlineExceeded", "Forbidden", "InternalError", "InvalidRequest", "LOSSES", "LossInfo", "LossResult", "NoSpace", "NotFound",
    "Overloaded", "ProtocolError", "RankdError", "RequestTimeout", "TooLarge", "Unauthorized", "Unsupported", "Untrusted",
    "WrongVerb", "__version__", "connect", "local", "metrics",
]
