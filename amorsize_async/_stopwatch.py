"""Measures what one chunk costs the event loop, so that the sizer and the report know; pure."""

from __future__ import annotations

import time

__all__ = ("Stopwatch",)


class Stopwatch:
    """Measures the loop's own seconds for one chunk: moving its payload, and all else; not the waiting.

    beside_seconds: what helper threads took for its payload.
    """

    def __init__(self) -> None:
        self.transfer_seconds = 0.0
        self.beside_seconds = 0.0
        self.overhead_seconds = 0.0
        self._since = time.perf_counter()

    def transfer(self) -> None:
        """The time since the last mark went into the payload."""
        now = time.perf_counter()
        self.transfer_seconds += now - self._since
        self._since = now

    def beside(self) -> None:
        """The time since the last mark went by while a thread moved the payload."""
        now = time.perf_counter()
        self.beside_seconds += now - self._since
        self._since = now

    def overhead(self) -> None:
        """The time since the last mark went into all else."""
        now = time.perf_counter()
        self.overhead_seconds += now - self._since
        self._since = now

    def pause(self) -> None:
        """From here on the chunk is somewhere else."""
        self.overhead()

    def go_on(self) -> None:
        """It is back."""
        self._since = time.perf_counter()
