# SPDX-License-Identifier: Apache-2.0
"""The plugin's table (lib/device/device_plugin.h) by ctypes: the bench and a test call it with
this. Does not need the daemon."""
import ctypes as c
import re
from pathlib import Path

FP32, FP16, INT8 = 7, 5, 2
AP, RECALL = 1, 2
DONE = 0
ROOT = Path(__file__).resolve().parents[2]
# The daemon's table of parameters: [(kind, field)].
ROWS = re.findall(r"^RK_(REAL|WHOLE|CHOICE|FLAG|TEXT)\((\w+),", (ROOT / "lib/request/param.def").read_text(), re.M)


class Structure(c.Structure):
    """A ctypes structure in which an unknown keyword is an error, and not a new attribute."""

    def __init__(self, *values, **named):
        unknown = set(named) - {name for name, *_ in self._fields_}
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        super().__init__(*values, **named)


class LossParams(Structure):
    _fields_ = [(field, {"REAL": c.c_double, "WHOLE": c.c_uint64, "CHOICE": c.c_int, "FLAG": c.c_bool}[kind])
                for kind, field in ROWS if kind != "TEXT"]


class Blackbox(Structure):
    _fields_ = [("number", c.c_int), ("lambda_per_n", c.c_bool), ("lambda_batch_scope", c.c_bool), ("margin", c.c_double),
                ("lambda", c.c_double), ("params", LossParams)]


def ap(margin=0.0, strength=0.0, interclass=0.0):
    """The loss ap, its perturbation in normalized ranks."""
    return Blackbox(AP, True, False, margin, strength, LossParams(interclass=interclass))


class Gradient(Structure):
    _fields_ = [("dense", c.c_bool), ("sparse", c.c_bool), ("data", c.c_void_p), ("on_device", c.c_bool),
                ("sparse_room", c.c_void_p), ("sparse_arg", c.c_void_p), ("nonzero", c.c_size_t)]


class Scores(Structure):
    _fields_ = [("scores", c.c_void_p), ("targets", c.c_void_p), ("scores_on_device", c.c_bool), ("targets_on_device", c.c_bool),
                ("score_dtype", c.c_int), ("target_dtype", c.c_int), ("rows", c.c_size_t), ("columns", c.c_size_t),
                ("by_column", c.c_bool), ("box", Blackbox), ("gradient", Gradient), ("list_loss", c.c_void_p),
                ("loss", c.c_double),
                ("lists", c.c_size_t), ("skipped", c.c_size_t), ("stalled", c.c_size_t), ("jumped", c.c_uint64),
                ("relevant", c.c_uint64)]


class Rank(Structure):
    _fields_ = [("scores", c.c_void_p), ("scores_on_device", c.c_bool), ("score_dtype", c.c_int), ("rows", c.c_size_t),
                ("columns", c.c_size_t), ("ranks", c.c_void_p), ("ranks_on_device", c.c_bool), ("upstream", c.c_void_p),
                ("upstream_on_device", c.c_bool), ("lambda", c.c_double), ("scale", c.c_double), ("gradient", Gradient)]


class Run(Structure):
    _fields_ = [("rows", c.c_void_p), ("dtype", c.c_int), ("items", c.c_size_t), ("identity", c.c_uint64),
                ("first", c.c_size_t)]


class Query(Structure):
    _fields_ = [("relevant", c.c_void_p), ("ignored", c.c_void_p), ("relevants", c.c_uint32), ("ignoreds", c.c_uint32),
                ("w", c.c_double), ("loss", c.c_double), ("done", c.c_bool), ("stalled", c.c_bool), ("jumped", c.c_uint64)]


class Retrieval(Structure):
    _fields_ = [("own", c.c_void_p), ("n_queries", c.c_size_t), ("own_items", c.c_size_t), ("total", c.c_size_t),
                ("dim", c.c_size_t), ("row_block", c.c_void_p), ("row_blocks", c.c_size_t), ("query", c.c_void_p),
                ("row", c.c_void_p),
                ("queries", c.c_size_t), ("check_nan", c.c_bool), ("gradient", c.c_bool), ("box", Blackbox), ("sum", c.c_void_p)]


class Plugin(Structure):
    CALL = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_char_p)
    _fields_ = [("version", c.c_uint32), ("vocabulary", c.c_uint32), ("knows", c.c_uint32 * (8 + len(ROWS)) * 3),
                ("open", c.CFUNCTYPE(c.c_void_p, c.c_int, c.c_size_t, c.c_char_p, c.c_char_p)),
                ("close", c.CFUNCTYPE(None, c.c_void_p)), ("scores", CALL), ("rank", CALL), ("retrieval", CALL),
                *((name, c.c_void_p) for name in ("fetch", "store", "map", "unmap", "memory")),
                ("pin", c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_size_t, c.c_char_p)),
                ("unpin", c.CFUNCTYPE(None, c.c_void_p, c.c_void_p))]


class Device:
    def __init__(self, path):
        library = c.CDLL(path)
        library.rk_plugin.restype = c.POINTER(Plugin)
        self.plugin = library.rk_plugin().contents
        name, self.why = c.create_string_buffer(128), c.create_string_buffer(256)
        self.device = self.plugin.open(0, 60 << 30, name, self.why)
        if not self.device:
            raise SystemExit(f"no device: {self.why.value.decode()}")
        self.name = name.value.decode()

    def pin(self, array):
        if self.plugin.pin(self.device, array.ctypes.data, array.nbytes, self.why) != DONE:
            raise SystemExit(f"pin: {self.why.value.decode()}")

    def unpin(self, array):
        self.plugin.unpin(self.device, array.ctypes.data)

    def call(self, what, job):
        if getattr(self.plugin, what)(self.device, c.addressof(job), self.why) != DONE:
            raise SystemExit(f"{what}: {self.why.value.decode() or 'passed'}")
