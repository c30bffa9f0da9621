"""What the machine lets this process use: CPUs, start methods; the only reader of /proc, /sys and affinity."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

__all__ = (
    "cgroup_cpus",
    "default_start_method",
    "has_nameless_files",
    "import_psutil",
    "is_stopped",
    "memory_limit",
    "nameless_file",
    "oom_kills",
    "open_descriptor",
    "resident_bytes",
    "usable_cpus",
)

CGROUP_ROOT = Path("/sys/fs/cgroup")

NO_LIMIT = 1 << 60
# Version 1 of cgroups writes "no limit" as a huge number.


def usable_cpus(environ: dict[str, str] | None = None) -> int:
    """CPUs this process may use, at least 1: `AMORSIZE_N_JOBS` if set, else the least of affinity and cgroup quota.

    `os.cpu_count()` tells of the machine; a container with a quota of 2 CPUs on a machine of 64 would get 64 workers.
    Raises ValueError if the variable is not a whole number above zero.
    """
    asked = (os.environ if environ is None else environ).get("AMORSIZE_N_JOBS")
    if asked:
        if not asked.isdecimal() or int(asked) < 1:
            raise ValueError(f"AMORSIZE_N_JOBS={asked!r} is not a number of workers; set a whole number above 0")
        return int(asked)
    quota = cgroup_cpus()
    return max(1, min(_affinity(), math.ceil(quota) if quota else sys.maxsize))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_cpus(root: Path = CGROUP_ROOT, own: Path = Path("/proc/self/cgroup")) -> float | None:
    """The CPU quota of this process's cgroup and of its ancestors, in CPUs; None where there is none.

    Reads version 2 (`cpu.max`: "quota period" in microseconds, or "max period") and version 1.
    """
    quotas = [quota for folder in _cgroup_folders("cpu", root, own) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _cgroup_folders(controller: str, root: Path, own: Path) -> list[Path]:
    """The folders that may hold a limit for us, from our own group up to the root, in both layouts."""
    folders = []
    for line in _read(own).splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers == "":
            base = root
        elif controller in controllers.split(","):
            base = root / controller
        else:
            continue
        group = Path(path.lstrip("/"))
        folders += [base / part for part in (group, *group.parents)]
    return [*folders, root, root / controller]


def _quota(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    if not words:
        words = [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    try:
        quota, period = int(words[0]), int(words[1])
    except (ValueError, IndexError):  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


def oom_kills(root: Path = CGROUP_ROOT, own: Path = Path("/proc/self/cgroup")) -> int:
    """How many processes of our cgroup the kernel has killed for want of memory; 0 where nothing tells.

    Reads version 2 (`memory.events`) and version 1 (`memory.oom_control`): a line "oom_kill N" in both.
    """
    for folder in _cgroup_folders("memory", root, own):
        for name in ("memory.events", "memory.oom_control"):
            for line in _read(folder / name).splitlines():
                key, _, count = line.partition(" ")
                if key == "oom_kill":
                    return int(count)
    return 0


def memory_limit(root: Path = CGROUP_ROOT, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """The least memory limit of our cgroup and of its ancestors, in bytes; None where there is none."""
    limits = [
        int(text)
        for folder in _cgroup_folders("memory", root, own)
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _read(folder / name).strip()).isdecimal() and int(text) < NO_LIMIT
    ]
    return min(limits, default=None)


def import_psutil() -> None:
    """Have imported what tells about other processes: blocking, for a thread, since it takes 30 ms the first time."""
    import psutil  # noqa: F401


def resident_bytes(pid: int) -> int:
    """The memory that a process holds now, in bytes; 0 if it is gone."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped (SIGSTOP, or a debugger), and does nothing until it is told to go on."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def default_start_method() -> str:
    """How workers are started unless the user says: forkserver where there is one, else spawn; never fork.

    A fork copies the locks that other threads hold and the signal handlers of a server; both hang real services.
    """
    import multiprocessing

    return "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def has_nameless_files() -> bool:
    """Whether processes here can share memory that has no name."""
    return hasattr(os, "memfd_create") and Path(_DESCRIPTORS.format(pid="self")).is_dir()


def nameless_file() -> int:
    """The descriptor of a new file in memory; raises OSError where the system refuses."""
    return os.memfd_create("amorsize", os.MFD_CLOEXEC)


def open_descriptor(pid: int, descriptor: int) -> int:
    """Open what another process of the same user has open; raises OSError if it has not, or the system refuses."""
    return os.open(f"{_DESCRIPTORS.format(pid=pid)}/{descriptor}", os.O_RDWR | os.O_CLOEXEC)


_DESCRIPTORS = "/proc/{pid}/fd"
