"""Measures how late an event loop is: a ticker that should wake each millisecond, and by how much it oversleeps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

__all__ = ("Lag", "Ticker")

TICK = 0.001


@dataclass(frozen=True, slots=True)
class Lag:
    """How late the loop was, in milliseconds: in the middle, in the worst hundredth, at worst."""

    p50: float
    p99: float
    worst: float

    @classmethod
    def of(cls, late: Sequence[float]) -> Lag:
        """Sum up the ticks of one contender, each so many seconds late."""
        ordered = sorted(late) or [0.0]
        return cls(*(1e3 * ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99, 1.0)))


class Ticker:
    """Ticks while it is entered; `late` are the seconds by which each tick came late.

    One long block of the loop is one late tick: that is what a request would have met that came just then.
    """

    def __init__(self) -> None:
        self.late: list[float] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Once around the loop, so that a tick that is due by now is counted and not cancelled.
        await asyncio.sleep(2 * TICK)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _tick(self) -> None:
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            self.late.append(max(0.0, time.perf_counter() - due))
