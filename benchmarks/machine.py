"""Where and with what something was measured: no name of a host, no path, only what a number depends on."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

import amorsize_async

__all__ = ("ROUNDS", "Conditions", "described")

ROUNDS = (5, 2)
"""That count: in a full run, in a quick one."""

LIBRARIES = ("aiomultiprocess", "joblib", "loky", "mpire", "numpy", "pebble", "streamable", "uvloop")


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a number depends on.

    package: our version. machine: in one line. versions: of the libraries that are compared, by name. workers: of each
    contender. rounds: that count. quick: smaller loads. load: CPUs that others used in the second before.
    """

    package: str
    machine: str
    versions: Mapping[str, str]
    workers: int
    rounds: int
    quick: bool
    load: float

    @classmethod
    def now(cls, workers: int, rounds: int, *, quick: bool) -> Conditions:
        """Look at this machine, for a second in which we do nothing."""
        load = psutil.cpu_percent(interval=1) / 100 * (psutil.cpu_count() or 1)
        return cls(amorsize_async.__version__, described(), _versions(), workers, rounds, quick, load)


def described() -> str:
    """Python, system and processor in one line."""
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}{_processor()}"


def _versions() -> dict[str, str]:
    """Of the libraries that are compared, where they are installed."""
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    """The processor's model, where Linux tells it."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f", {models[0]}" if models else ""
