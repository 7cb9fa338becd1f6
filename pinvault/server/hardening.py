"""Makes the process hard to read from outside, and says when it is not.

Rules:
- The allocator is told before the program starts to overwrite what is freed
  (GLIBC_TUNABLES and PYTHONMALLOC), since nothing in Python can be trusted to wipe.
- No core file, no ptrace or /proc/PID/mem by the same user, no new privileges.
- In production mode every measure holds or the worker does not start.
"""

import ctypes
import os
import platform
import resource
import sys
from collections.abc import Mapping

ALLOCATOR: Mapping[str, str] = {
    "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0",
    "PYTHONMALLOC": "malloc",
}
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39
_PR_SET_PDEATHSIG = 1
_TRACING = ("GRPC_TRACE",)


def with_allocator(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the environment with the allocator's settings in it."""
    return {**environment, **ALLOCATOR}


def allocator_told(environment: Mapping[str, str]) -> bool:
    """Tell whether the environment has the allocator's settings in it."""
    return all(environment.get(name) == value for name, value in ALLOCATOR.items())


def allocator_scrubs(environment: Mapping[str, str]) -> bool:
    """Tell whether this process was started on glibc with the allocator's settings."""
    return allocator_told(environment) and platform.libc_ver()[0] == "glibc"


def harden() -> None:
    """Take every measure that a running process can take; what fails is found by `weaknesses`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def weaknesses() -> list[str]:
    """Name every measure that does not hold, with its remedy; empty when all hold."""
    found = []
    if not allocator_scrubs(os.environ):
        found.append(
            "the allocator does not overwrite freed memory: start with `pinvault serve`, on glibc"
        )
    if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
        found.append("core files are possible: set the core limit to 0")
    if any(os.environ.get(name) for name in _TRACING):
        found.append("gRPC tracing is on: unset GRPC_TRACE")
    if sys.platform != "linux":
        return [*found, "process isolation is known on Linux only: run on Linux"]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        found.append("other processes of this user can read the memory: allow PR_SET_DUMPABLE")
    if libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1:
        found.append("new privileges are possible: allow PR_SET_NO_NEW_PRIVS")
    return found


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send the signal when the supervisor dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
