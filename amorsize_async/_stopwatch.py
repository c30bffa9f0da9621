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
        self._marked, self._began = busy(), time.perf_counter()

    def transfer(self) -> None:
        """The work since the last mark went into the payload."""
        self.transfer_seconds += self._mark()

    def beside(self) -> None:
        """The time since the last mark went by while a thread moved the payload."""
        self.beside_seconds += time.perf_counter() - self._began
        self._mark()

    def overhead(self) -> None:
        """The work since the last mark went into all else."""
        self.overhead_seconds += self._mark()

    def pause(self) -> None:
        """From here on the chunk is somewhere else."""
        self.overhead()

    def go_on(self) -> None:
        """It is back."""
        self._mark()

    def _mark(self) -> float:
        worked, self._marked = self._marked, busy()
        self._began = time.perf_counter()
        return self._marked - worked
