"""Work that shows when it runs: functions for workers, which import no web framework."""

from __future__ import annotations

import time
from pathlib import Path


def beat(path_and_seconds):
    """Write the time to a file again and again, for some seconds; lines of `time.time()`."""
    path, seconds = path_and_seconds
    end = time.monotonic() + seconds
    with Path(path).open("a", encoding="utf-8", buffering=1) as file:
        while time.monotonic() < end:
            file.write(f"{time.time()}\n")
            time.sleep(0.005)
    return seconds
