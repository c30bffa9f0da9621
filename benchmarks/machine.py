"""Where and with what something was measured: no name of a host, no path, only what a number depends on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

__all__ = ("described", "load", "versions")

LIBRARIES = ("aiomultiprocess", "joblib", "loky", "mpire", "numpy", "pebble", "streamable", "uvloop")


def described() -> str:
    """Python, system and processor in one line."""
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}{_processor()}"


def load() -> float:
    """Processes that were running or ready in the last minute, before we began; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def versions() -> dict[str, str]:
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
