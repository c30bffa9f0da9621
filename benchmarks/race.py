"""Runs contenders side by side: the same load, one after the other in every round, the loop's lag measured beside each.

Who leads a round changes, and the first round is thrown away. Times are compared within a round only, so that a machine
that is slow for a while is slow for all of them.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from .contenders import Contender, Ours
from .lag import Lag, Ticker
from .loads import Load

__all__ = ("Entry", "opened", "race", "ratio")

PAUSE = 0.05
"""Seconds between two contenders, in which the pool of the first falls asleep."""

SPAN = 0.3
"""Who is done sooner runs again, until a round has lasted so many seconds: fewer ticks of the loop say little."""


@dataclass(slots=True)
class Entry:
    """A contender in one race.

    share: of the items that it gets; its times are scaled up. seconds: one per round (the median of its laps), scaled.
    late: seconds, of all ticks of all rounds. efficiency: one per lap, where the contender measures it. remark: what
    must be said about it.
    """

    contender: Contender
    share: float = 1.0
    seconds: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    efficiency: list[float] = field(default_factory=list)
    remark: str = ""

    @property
    def name(self) -> str:
        """What the tables call it."""
        return self.contender.name

    @property
    def lag(self) -> Lag:
        """How late the loop was while this contender ran."""
        return Lag.of(self.late)


def ratio(entry: Entry, reference: Entry) -> float:
    """How many times as long as `reference` a contender took: the median of the rounds' ratios."""
    return statistics.median(mine / its for mine, its in zip(entry.seconds, reference.seconds, strict=True))


async def race(load: Load, entries: Sequence[Entry], rounds: int) -> None:
    """Tune, run one round that only checks the results, then the rounds that count; fills the entries."""
    for entry in entries:
        entry.remark = await entry.contender.tune(load)
    expected = await asyncio.to_thread(lambda: [load.fn(item) for item in load.data])
    for entry in entries:
        results = await entry.contender.run(load.fn, load.sample(entry.share))
        if results != expected[: len(results)] or len(results) != len(load.sample(entry.share)):
            raise AssertionError(f"{entry.name} gave other results than a plain loop for {load.name}")
        del results
    del expected
    for number in range(rounds):
        lead = number % len(entries)
        for entry in [*entries[lead:], *entries[:lead]]:
            await _run(load, entry)


async def _run(load: Load, entry: Entry) -> None:
    gc.collect()
    await asyncio.sleep(PAUSE)
    data = load.sample(entry.share)
    laps: list[float] = []
    kept: list[list[Any]] = []  # freeing a million objects holds the loop for milliseconds: nobody's fault, so later
    async with Ticker() as ticker:
        while sum(laps) < SPAN:
            began = time.perf_counter()
            kept.append(await entry.contender.run(load.fn, data))
            laps.append(time.perf_counter() - began)
            if isinstance(entry.contender, Ours):
                entry.efficiency.append(entry.contender.report.efficiency)
    entry.seconds.append(statistics.median(laps) * len(load.data) / len(data))
    entry.late += ticker.late


@asynccontextmanager
async def opened(contenders: Sequence[Contender]) -> AsyncIterator[None]:
    """Have the contenders open, and close those that were opened."""
    ready: list[Contender] = []
    try:
        for contender in contenders:
            await contender.open()
            ready.append(contender)
        yield
    finally:
        for contender in reversed(ready):
            await contender.close()
