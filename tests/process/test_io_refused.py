# SPDX-License-Identifier: Apache-2.0
"""io_uring is refused, in every way that was observed or is documented: the ring uses epoll, banks
are written with plain calls, and each reports that once."""
import ctypes
import errno
import json
import os
import struct
import subprocess

import pytest
import ring_support
from conftest import BUILD

SYSCALLS = {"io_uring_setup": 425, "io_uring_enter": 426}
ERRNOS = [errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOMEM, errno.EMFILE, errno.EBUSY]
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06  # of classic BPF


def refuse(syscall, code):
    """A seccomp filter for this process and what it becomes: the call fails with `code`."""
    rules = [(LOAD, 0, 0, 0), (JUMP_EQUAL, 0, 1, SYSCALLS[syscall]), (RETURN, 0, 0, SECCOMP_RET_ERRNO | code),
             (RETURN, 0, 0, SECCOMP_RET_ALLOW)]
    text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    program = struct.pack("@HP", len(rules), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"prctl{arguments[:1]}")


@pytest.mark.parametrize("syscall", SYSCALLS)
@pytest.mark.parametrize("code", ERRNOS, ids=errno.errorcode.get)
def test_auto_does_without(tmp_path, syscall, code):
    flags = ("--data", str(tmp_path / "data"))
    bank = json.dumps({"kind": "scores", "lists": 1, "capacity": 10, "durability": "always"}).encode()
    with ring_support.Daemon(*flags, before=lambda: refuse(syscall, code)) as daemon:
        with ring_support.Raw(daemon.path) as raw:
            for name in ("a", "b"):
                assert raw.call("PUT", f"/v2/banks/{name}", bank)[0] == 200
                assert raw.call("PUT", f"/v2/banks/{name}/checkpoints/t")[0] == 200
        log = daemon.log()
        why = f"io_uring is refused here ({os.strerror(code)})"
        assert log.count(f"{why}, the ring uses epoll") == log.count(f"{why}, banks are written with plain calls") == 1, log
        assert "by epoll" in log
        daemon.kill()
        daemon.start()  # existing banks are read in the same way
        daemon.await_log(f"{why}, banks are written with plain calls", times=2)


@pytest.mark.parametrize("syscall", SYSCALLS)
def test_uring_insists(tmp_path, syscall):
    with pytest.raises(RuntimeError, match="io_uring: Permission denied"):
        ring_support.Daemon("--io", "uring", before=lambda: refuse(syscall, errno.EACCES))
    data = str(tmp_path / "data")
    with ring_support.Daemon("--data", data) as daemon, ring_support.Raw(daemon.path) as raw:
        assert raw.call("PUT", "/v2/banks/a", b'{"kind":"scores","lists":1,"capacity":10}')[0] == 200
    done = subprocess.run([BUILD / "rankd", "--http", "127.0.0.1:0", "--io", "uring", "--data", data], capture_output=True,
                          text=True, timeout=60, preexec_fn=lambda: refuse(syscall, errno.EACCES))
    assert done.returncode == 1
    assert "rankd: io_uring is refused here (Permission denied); --io auto writes banks without it" in done.stderr


def test_nothing_is_said_where_epoll_is_asked_for(tmp_path):
    with ring_support.Daemon("--io", "epoll", "--data", str(tmp_path / "data"),
                             before=lambda: refuse("io_uring_setup", errno.EACCES)) as daemon:
        with ring_support.Raw(daemon.path) as raw:
            assert raw.call("PUT", "/v2/banks/a", b'{"kind":"scores","lists":1,"capacity":10}')[0] == 200
        assert "io_uring" not in daemon.log()
