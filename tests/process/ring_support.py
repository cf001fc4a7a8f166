# SPDX-License-Identifier: Apache-2.0
"""A daemon with a ring for tests, and a client of the ring that is written from proto/PROTOCOL.md
and the layout alone. It shares nothing with librankd, so that the two check each other, and it can
send false data."""
import array
import json
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from pathlib import Path

BUILD = Path(os.environ.get("RANKD_BUILD", "build"))
HELLO, WELCOME, CALL, ANSWER, PAGE = 0x4F4C4548, 0x434C4557, 0x4C4C4143, 0x57534E41, 0x45474150
NOP, INFER, CANCEL = 1, 2, 3
DTYPES = {"bool": 0, "uint8": 1, "int8": 2, "int32": 3, "int64": 4, "float16": 5, "float32": 7, "float64": 8}
INPUTS = {"scores": 0, "targets": 1, "upstream": 2, "embeddings": 3, "labels": 4}
OUTPUTS = {"loss": 0, "gradient": 1, "list_loss": 2, "ranks": 3, "gradient_indices": 4, "gradient_values": 5}
SUBMIT_TAIL, COMPLETE_HEAD, SUBMIT_HEAD, COMPLETE_TAIL, SPIN_NS, DAEMON_WAITING, CLIENT_WAITING = (
    128, 132, 256, 260, 264, 384, 512)


class Daemon:
    """A rankd of the test's own, with a ring and no HTTP. `before` runs in the child before the
    daemon does."""

    def __init__(self, *arguments, path=None, before=None, http="off"):
        self.folder = tempfile.TemporaryDirectory(prefix="rankd-ring-")
        self.path = path or f"{self.folder.name}/ring"
        self.log_path = f"{self.folder.name}/log"
        self.arguments, self.before, self.http = arguments, before, http
        self.process = None
        self.start()

    def start(self):
        self.log_file = open(self.log_path, "ab")
        # With a sanitizer on a loaded machine everything takes minutes instead of seconds: no
        # deadlines except those that a test sets.
        command = [str(BUILD / "rankd"), f"--http={self.http}", f"--socket={self.path}", "--workers=2", "--request-timeout=10min",
                   *self.arguments]
        # Without a signal stack, because GCC's ASan reports a fault at the end of a thread whose
        # stack was used before. A small quarantine, because freed memory in it would look like
        # growth.
        environment = {"ASAN_OPTIONS": "use_sigaltstack=0:quarantine_size_mb=1", **os.environ}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=self.log_file,
                                        preexec_fn=self.before)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"rankd ended with {self.process.returncode}: {self.log()}")
            try:
                Raw(self.path).close()
                return self
            except (ConnectionError, FileNotFoundError, Refused):
                time.sleep(0.02)
        raise RuntimeError(f"rankd does not answer: {self.log()}")

    @property
    def url(self):
        return f"unix:{self.path}"

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        """The log, once nothing was added for a moment: a separate thread writes it."""
        path, text, until = Path(self.log_path), None, time.monotonic() + 5
        while text is None or (len(text) != path.stat().st_size and time.monotonic() < until):
            text = path.read_bytes()
            time.sleep(0.05)
        return text.decode(errors="replace")

    def await_log(self, words, timeout=60, times=1):
        """Waits for the words, because a separate thread writes the log, after the events."""
        until = time.monotonic() + timeout
        while self.log().count(words) < times:
            assert time.monotonic() < until, f"the log has no {words!r}: {self.log()}"
            time.sleep(0.01)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def status_kb(self, name):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        raise KeyError(name)

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metric(self, name):
        with Raw(self.path) as raw:
            text = raw.call("GET", "/metrics")[1].decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def hold(self):
        """Stopped, until go()."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def go(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """Ends the daemon normally. Fails on a report of a sanitizer."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(60)
        self.log_file.close()
        text = self.log()
        self.folder.cleanup()
        at = max(0, text.find("Sanitizer") - 200) if "Sanitizer" in text else -4000
        assert self.process.returncode in (0, -signal.SIGKILL), f"exit {self.process.returncode}: {text[at:][:8000]}"
        assert "Sanitizer" not in text and "runtime error" not in text, text[at:][:8000]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


class Lost(Exception):
    """The daemon hung up."""


class Raw:
    """One connection, on which a test can write anything that a client writes, right or wrong."""

    def __init__(self, path, entries=8, arena=1 << 20, hello=None, greet=True, versions=(1, 1), spin_us=0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(path)
        self.map = None
        self.tag = self.call_tag = 0
        self.fence = threading.Lock()
        self.done = {}
        if greet:
            self.greet(hello or struct.pack("<4IQ2I32x", HELLO, *versions, entries, arena, spin_us, 0))

    def greet(self, hello):
        try:
            self.socket.send(hello)
        except BrokenPipeError:
            pass  # refused already; the reason can be read
        self.socket.settimeout(300)
        packet, fds, _, _ = socket.recv_fds(self.socket, 1024, 4)
        if not packet:
            raise Lost
        kind, status, version, entries, size, self.daemon_id = struct.unpack_from("<4I2Q", packet)
        assert kind == WELCOME and len(packet) == 576
        if status:
            assert not fds
            raise Refused(status, packet[32:544].split(b"\0")[0].decode())
        (self.fd,) = fds
        self.map = mmap.mmap(self.fd, size)
        self.words = memoryview(self.map).cast("I")
        self.size, self.entries, self.version = size, entries, version
        head = struct.unpack_from("<Q2IQ2I5Q", self.map, 0)
        assert head[0] == int.from_bytes(b"RANKDSHM", "little") and head[1] == version and head[2] == 4096
        assert head[3] == size and head[4] == entries and head[5] == 64 and head[10] == self.daemon_id
        self.submissions, self.completions, self.arena, self.arena_bytes = head[6:10]
        assert self.arena + self.arena_bytes <= size

    def word(self, offset):
        return self.words[offset // 4]

    def set_word(self, offset, value):
        # One store of 32 bits. struct.pack_into() would not do: it clears the bytes first, and the
        # daemon sees that.
        self.words[offset // 4] = value & 0xFFFFFFFF

    def put(self, at, data):
        self.map[at:at + len(data)] = data

    def entry(self, operation=INFER, descriptor=(0, 0), reply=0, tag=None, timeout_ns=0, cancel=0):
        if tag is None:
            self.tag += 1
            tag = self.tag
        return struct.pack("<2I5Q16x", operation, descriptor[1], tag, timeout_ns, descriptor[0], reply, cancel)

    def submit(self, entry, ring=True):
        tail = self.word(SUBMIT_TAIL)
        self.put(self.submissions + tail % self.entries * 64, entry)
        self.set_word(SUBMIT_TAIL, tail + 1)
        if ring:
            self.doorbell()
        return struct.unpack_from("<Q", entry, 8)[0]

    def doorbell(self):
        """Rings without a check whether the daemon sleeps: an unnecessary doorbell is allowed."""
        try:
            self.socket.send(b"!", socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Lost from error

    def wait(self, tag, timeout=300):
        until = time.monotonic() + timeout
        while tag not in self.done:
            self.set_word(CLIENT_WAITING, 1)
            with self.fence:
                pass  # a locked instruction between the store and the check, as the protocol requires
            if not self.take():
                if not select.select([self.socket], [], [], max(until - time.monotonic(), 0))[0]:
                    raise TimeoutError(f"no completion of {tag}")
                try:
                    if not self.socket.recv(65536):
                        raise Lost
                except ConnectionResetError as error:
                    raise Lost from error
            self.set_word(CLIENT_WAITING, 0)
        return self.done.pop(tag)

    def take(self):
        """Takes the completions that have arrived; returns their number."""
        count = 0
        while (head := self.word(COMPLETE_HEAD)) != self.word(COMPLETE_TAIL):
            if self.word(COMPLETE_TAIL) - head & 0xFFFFFFFF > self.entries:
                raise Lost  # another process overwrote the index
            tag, status = struct.unpack_from("<QI", self.map, self.completions + head % self.entries * 64)
            self.set_word(COMPLETE_HEAD, head + 1)
            self.done[tag] = status
            count += 1
        return count

    # A request: descriptor at the arena's beginning, reply behind it, tensors from 8 KiB on.
    def infer_entry(self, model, inputs, outputs=(), parameters=None, slot=0, space=None, request_id="", **more):
        base = self.arena + slot * (space or self.arena_bytes // 64 * 64)
        at = base + 8192
        body = b""
        for name, value in inputs.items():
            data = value.tobytes()
            self.put(at, data)
            shape = list(value.shape) + [0] * (2 - value.ndim)
            body += struct.pack("<4I4Q16x", INPUTS[name], DTYPES[value.dtype.name], value.ndim, 0, *shape, at, len(data))
            at += (len(data) + 63) // 64 * 64
        places = {}
        for name, size in outputs:
            body += struct.pack("<4I4Q16x", OUTPUTS[name], 0, 0, 0, 0, 0, at, size)
            places[name] = at
            at += (size + 63) // 64 * 64
        for name, value in (parameters or {}).items():
            kind = 2 if isinstance(value, bool) else 3 if isinstance(value, str) else 1
            text = value.encode() if kind == 3 else b""
            body += struct.pack("<32s2Id", name.encode(), kind, len(text), 0.0 if kind == 3 else float(value))
            body += text + b"\0" * (-len(text) % 8)
        head = struct.pack("<4I32s64s16x", 1, len(inputs), len(outputs), len(parameters or {}), model.encode(),
                           request_id.encode())
        self.put(base, head + body)
        return self.entry(INFER, (base, len(head) + len(body)), base + 4096, **more), places

    def reply(self, slot=0, space=None):
        """(status, outputs, loss, lists, sentence) of the reply block."""
        at = self.arena + slot * (space or self.arena_bytes // 64 * 64) + 4096
        status, outputs, _, _, loss, lists = struct.unpack_from("<4IdQ", self.map, at)
        return status, outputs, loss, lists, self.map[at + 512:at + 1024].split(b"\0")[0].decode()

    def result(self, name, slot=0, space=None):
        """(dtype, rank, shape, bytes) of an output."""
        at = self.arena + slot * (space or self.arena_bytes // 64 * 64) + 4096 + 96 + 32 * OUTPUTS[name]
        dtype, rank, a, b, size = struct.unpack_from("<2I3Q", self.map, at)
        return dtype, rank, (a, b)[:rank], size

    def call(self, method, path, body=b"", page_limit=1000):
        self.call_tag += 1
        self.socket.send(struct.pack("<4I2Q", CALL, self.call_tag, 0, 0, 0, 0) + f"{method} {path}".encode() + b"\0" + body)
        text, self.pages = b"", 0
        while True:
            packet = self.socket.recv(65536)
            if not packet:
                raise Lost
            if len(packet) == 1:
                continue
            kind, tag, status, _, total, offset = struct.unpack_from("<4I2Q", packet)
            assert kind == ANSWER and tag == self.call_tag and offset == len(text)
            text += packet[32:]
            self.pages += 1
            if len(text) == total:
                return status, text
            self.socket.send(struct.pack("<4I2Q", PAGE, self.call_tag, 0, 0, 0, len(text)))

    def send_fds(self, data, fds):
        self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])

    def is_hung_up(self, timeout=30):
        """Whether the daemon hangs up within the time."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            if select.select([self.socket], [], [], 0.2)[0]:
                try:
                    if not self.socket.recv(65536):
                        return True
                except ConnectionError:
                    return True
        return False

    def close(self):
        self.socket.close()
        if self.map is not None:
            self.words.release()
            self.map.close()
            os.close(self.fd)
            self.map = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def eventually(condition, seconds=10, pause=0.02):
    """Whether the condition becomes true within the time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(pause)
    return True


def refuse_io_uring(error):
    """For Daemon(before=…): io_uring_setup fails with this errno, as under a container's seccomp
    profile."""
    import ctypes

    def install():
        libc = ctypes.CDLL(None, use_errno=True)
        instructions = b"".join(struct.pack("<HBBI", *i) for i in (
            (0x20, 0, 0, 0),             # load the system call's number
            (0x15, 0, 1, 425),           # io_uring_setup?
            (0x06, 0, 0, 0x00050000 | error),
            (0x06, 0, 0, 0x7FFF0000)))
        code = ctypes.create_string_buffer(instructions)
        program = struct.pack("<H6xQ", 4, ctypes.addressof(code))
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.create_string_buffer(program), 0, 0):
            os._exit(3)

    return install


def to_json(text):
    return json.loads(text)
