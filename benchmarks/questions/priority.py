"""What it does for the loop, and to the work, when workers run at a lower priority than the loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from amorsize_async import AsyncExecutor

from ..answers import Answer, Settings, Table
from ..contenders import Ours, start_context
from ..loads import burn
from ..race import Entry, opened, race, ratio
from ..rows import ROWS

__all__ = ("ask",)

NICE = 10
"""What is added to the workers' niceness: such a process counts a tenth of one of the usual priority."""

ALONE, CROWDED = ("trivial", "10us", "texts", "documents"), "10us"
"""Rows of the matrix that are run on an idle machine, and the one that is run beside strangers."""

FOR_LONG = 1 << 60
"""Turns of a stranger, who is ended before that."""


class Yielding(Ours):
    """The same with workers that let others go first."""

    name = f"the same, nice {NICE}"

    async def start(self) -> None:
        """Start the workers."""
        self.executor = await AsyncExecutor(self.workers, initializer=os.nice, initargs=(NICE,)).start()


async def ask(settings: Settings) -> Answer:
    """Race workers of both priorities, on an idle machine and beside as many strangers as there are workers."""
    if not hasattr(os, "nice"):
        return Answer([Table("workers of a lower priority", ("what",), [], ["there are no priorities here"])])
    rows: list[list[str]] = []
    numbers: list[dict[str, Any]] = []
    for name in ALONE:
        _tell(name, await _raced(name, settings), rows, numbers)
    async with _strangers(settings.workers):
        _tell(f"{CROWDED}, beside strangers", await _raced(CROWDED, settings), rows, numbers)
    columns = ("row of the matrix", "time / usual", "lag p99 ms, usual", "lower", "worst, usual", "lower", "about")
    notes = [
        f"lower: AsyncExecutor(initializer=os.nice, initargs=({NICE},)); time: below 1, these are quicker",
        f"strangers: {settings.workers} other processes of the usual priority that compute all the time",
    ]
    return Answer([Table("workers of a lower priority than the loop", columns, rows, notes)], (), numbers)


async def _raced(name: str, settings: Settings) -> list[Entry]:
    load = ROWS[name].load(5 if settings.quick else 1)
    entries = [Entry(Ours(settings.workers)), Entry(Yielding(settings.workers))]
    async with opened([entry.contender for entry in entries]):
        await race(load, entries, 2 * settings.rounds)
    return entries


@asynccontextmanager
async def _strangers(count: int) -> AsyncIterator[None]:
    """Have processes that compute, and end them."""
    context: Any = start_context()
    processes = [context.Process(target=burn, args=(FOR_LONG, 1), daemon=True) for _ in range(count)]
    try:
        for process in processes:
            await asyncio.to_thread(process.start)
        yield
    finally:
        for process in processes:
            process.kill()
            await asyncio.to_thread(process.join)


def _tell(what: str, entries: list[Entry], rows: list[list[str]], numbers: list[dict[str, Any]]) -> None:
    usual, lower = entries
    lags = (f"{lag:.1f}" for lag in (usual.lag.p99, lower.lag.p99, usual.lag.worst, lower.lag.worst))
    rows.append([what, f"{ratio(lower, usual):.2f}", *lags, ROWS[what.partition(",")[0]].about])
    numbers += [{"row": what, "contender": each.name, "seconds": each.seconds, "late": each.late} for each in entries]
