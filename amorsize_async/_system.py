"""What the machine lets this process use: CPUs, start methods; the only reader of /proc, /sys and affinity."""

from __future__ import annotations

import math
import os
import signal
import sys
from pathlib import Path

__all__ = ("cgroup_cpus", "default_start_method", "exit_reason", "usable_cpus")

CGROUP_ROOT = Path("/sys/fs/cgroup")


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
    quotas = [quota for folder in _cgroup_folders(root, own) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _cgroup_folders(root: Path, own: Path) -> list[Path]:
    """The folders that may hold a quota for us, from our own group up to the root, in both layouts."""
    folders = [root, root / "cpu"]
    for line in _read(own).splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if controllers == "":
            base = root
        elif "cpu" in controllers.split(","):
            base = root / "cpu"
        else:
            continue
        group = Path(path.lstrip("/"))
        folders += [base / part for part in (group, *group.parents)]
    return folders


def _quota(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    if not words:
        words = [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    try:
        quota, period = int(words[0]), int(words[1])
    except (ValueError, IndexError):  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


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


def exit_reason(exitcode: int) -> str:
    """An exit code in words: `multiprocessing` gives the number of a signal as a negative one."""
    if exitcode >= 0:
        return f"exit code {exitcode}"
    try:
        return f"signal {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"signal {-exitcode}"
