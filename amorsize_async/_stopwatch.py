"""Measures what one chunk costs the event loop, so that the sizer and the report know; pure."""

from __future__ import annotations

import time

__all__ = ("Stopwatch", "busy")

FINE = 1e-5
# Seconds: a clock that is coarser says nothing about a chunk (Windows: 16 ms).

busy = time.thread_time if time.get_clock_info("thread_time").resolution < FINE else time.perf_counter
# Seconds that this thread has worked: not those in which it could not, since others had the processor.


class Stopwatch:
    """Measures what the loop works for one chunk, in seconds: moving its payload, and all else; not the waiting.

    beside_seconds: wall time that helper threads took for its payload.
    """

    def __init__(self) -> None:
        self.transfer_seconds = 0.0
        self.beside_seconds = 0.0
        self.overhead_seconds = 0.0
        self._marked = busy()

    def transfer(self) -> None:
        """The work since the last mark went into the payload."""
        now = busy()
        self.transfer_seconds += now - self._marked
        self._marked = now

    def overhead(self) -> None:
        """The work since the last mark went into all else."""
        now = busy()
        self.overhead_seconds += now - self._marked
        self._marked = now

    def beside(self, began: float) -> None:
        """Since `began`, of `time.perf_counter`, a thread has moved the payload."""
        self.beside_seconds += time.perf_counter() - began
        self._marked = busy()

    def go_on(self) -> None:
        """The chunk was somewhere else, and is back."""
        self._marked = busy()
