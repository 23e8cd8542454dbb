"""A disk without room, for one process among several in this interpreter: while it takes a step, no file can grow.

Files fail with EFBIG (the limit on file sizes, set to 0 for the step), which nobody treats otherwise than ENOSPC;
SQLite is given ENOSPC itself, by way of its table of system calls, for it tells the two apart.
"""

import ctypes
import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from tests.faults.process import Process

_Write = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, use_errno=True)
_Write64 = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, use_errno=True
)


def _no_room(*_: object) -> int:
    ctypes.set_errno(errno.ENOSPC)
    return -1


_SYSTEM = apsw.VFS("fault runs", "unix")
_CALLS = {"write": _Write(_no_room), "pwrite": _Write64(_no_room), "pwrite64": _Write64(_no_room)}
_IN_TABLE = {name: call for name, call in _CALLS.items() if _SYSTEM.xGetSystemCall(name)}


@contextmanager
def limited(process: Process | None) -> Iterator[None]:
    """Take a step of `process` on its disk."""
    if process is None or not process.disk_full:
        yield
        return
    _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    for name, call in _IN_TABLE.items():
        _SYSTEM.xSetSystemCall(name, ctypes.cast(call, ctypes.c_void_p).value or 0)
    try:
        yield
    finally:
        for name in _IN_TABLE:
            _SYSTEM.xSetSystemCall(name, 0)  # the system's own again
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
