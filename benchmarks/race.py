"""Runs contenders side by side: the same load, one after the other in every round, the loop's lag measured beside each.

Who leads a round changes, and the first round is thrown away. Times are compared within a round only, so that a machine
that is slow for a while is slow for all of them.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from .contenders import Contender, Ours
from .lag import Lag, Ticker
from .loads import Load

__all__ = ("Entry", "opened", "race", "race_cold", "race_on", "ratio", "ready")

PAUSE = 0.05
"""Seconds between two contenders, in which the pool of the first falls asleep."""

SPAN = 0.3
"""Who is done sooner runs again, until a turn has lasted so many seconds: fewer ticks of the loop say little.

At most twice as long if items have to be copied for each lap.
"""

HOPELESS = 1.5
"""Whose first cold start took so many times as long as the quickest one will not be the best peer."""


@dataclass(slots=True)
class Entry:
    """A contender in one race.

    share: of the items that it gets; its times are scaled up. seconds: one per round (the median of its laps), scaled.
    late: seconds, of all ticks of all rounds. efficiency: one per lap, where the contender measures it: work over the
    wall time of all its workers. cold: seconds from nothing to the first complete result, one per cold round. remark:
    what must be said about it. failure: why it runs no more, "" while it does.
    """

    contender: Contender
    share: float = 1.0
    seconds: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    efficiency: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    remark: str = ""
    failure: str = ""

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


async def race(
    load: Load, entries: Sequence[Entry], rounds: int, *, tolerant: bool = False, span: float = SPAN
) -> None:
    """Tune, run one round that only checks the results, then the rounds that count; fills the entries.

    tolerant: a peer that raises, or gives wrong results, is out of the race; its entry says why.
    span: seconds that each contender's turn lasts at least.
    """
    for entry in entries:
        with _failure_noted(entry, tolerant=tolerant):
            entry.remark = await entry.contender.tune(load.part(entry.share))
    await _check(load, entries, tolerant=tolerant)
    await race_on(load, entries, rounds, tolerant=tolerant, span=span)


async def race_on(
    load: Load, entries: Sequence[Entry], rounds: int, *, tolerant: bool = False, span: float = SPAN
) -> None:
    """Run rounds that count, of contenders that are tuned and warm; otherwise as `race`."""
    for number in range(rounds):
        for entry in _led_by(number, entries):
            with _failure_noted(entry, tolerant=tolerant):
                async with ready(entry.contender):
                    await _run(load, entry, span)


async def race_cold(load: Load, entries: Sequence[Entry], rounds: int) -> None:
    """Time each contender from nothing to its first complete result, with its settings; none may be open.

    A peer that took `HOPELESS` times as long as the quickest in the first round is not asked again.
    """
    hopeful = entries
    for number in range(rounds):
        for entry in _led_by(number, hopeful):
            with _failure_noted(entry, tolerant=True):
                await _run_cold(load.part(entry.share), entry)
        bound = HOPELESS * min(entry.cold[0] for entry in entries if entry.cold)
        hopeful = [it for it in entries if isinstance(it.contender, Ours) or (it.cold and it.cold[0] <= bound)]


@contextmanager
def _failure_noted(entry: Entry, *, tolerant: bool) -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        if not tolerant or isinstance(entry.contender, Ours):
            raise
        entry.failure = f"{type(exc).__name__}: {exc}".splitlines()[0]


async def _run_cold(part: Load, entry: Entry) -> None:
    gc.collect()
    await asyncio.sleep(PAUSE)
    items = part.items()
    began = time.perf_counter()
    await entry.contender.start()
    try:
        await entry.contender.run(part.function(coroutines=entry.contender.coroutines), items)
        entry.cold.append(time.perf_counter() - began)
    finally:
        await entry.contender.close()


def _led_by(number: int, entries: Sequence[Entry]) -> list[Entry]:
    lead = number % len(entries)
    return [entry for entry in [*entries[lead:], *entries[:lead]] if not entry.failure]


async def _check(load: Load, entries: Sequence[Entry], *, tolerant: bool) -> None:
    """Compare everybody's results with a plain loop's, which also warms them for this load."""
    expected = await asyncio.to_thread(load.part(max(entry.share for entry in entries)).expected)
    for entry in _led_by(0, entries):
        part = load.part(entry.share)
        with _failure_noted(entry, tolerant=tolerant):
            async with ready(entry.contender):
                results = await entry.contender.run(load.function(coroutines=entry.contender.coroutines), part.items())
            if len(results) != len(part.data) or not load.same(results, expected[: len(results)]):
                raise AssertionError(f"{entry.name} gave other results than a plain loop for {load.name}")


async def _run(load: Load, entry: Entry, span: float) -> None:
    gc.collect()
    await asyncio.sleep(PAUSE)
    part = load.part(entry.share)
    fn = load.function(coroutines=entry.contender.coroutines)
    laps: list[float] = []
    kept: list[list[Any]] = []  # freeing a million objects holds the loop for milliseconds: nobody's fault, so later
    ends = time.perf_counter() + 2 * span
    while not laps or (sum(laps) < span and time.perf_counter() < ends):
        items = part.items()
        async with Ticker() as ticker:
            began = time.perf_counter()
            kept.append(await entry.contender.run(fn, items))
            laps.append(time.perf_counter() - began)
        entry.late += ticker.late
        if isinstance(entry.contender, Ours):
            entry.efficiency.append(entry.contender.report.speedup / entry.contender.workers)
    entry.seconds.append(statistics.median(laps) * len(load.data) / len(part.data))


@asynccontextmanager
async def ready(contender: Contender) -> AsyncIterator[None]:
    """Have a contender ready for its turn: a restless one is opened for it alone."""
    if not contender.restless:
        yield
        return
    await contender.open()
    try:
        yield
    finally:
        await contender.close()


@asynccontextmanager
async def opened(contenders: Sequence[Contender]) -> AsyncIterator[None]:
    """Have the contenders open, but for restless ones, and close those that were opened."""
    waiting: list[Contender] = []
    try:
        for contender in contenders:
            if not contender.restless:
                await contender.open()
                waiting.append(contender)
        yield
    finally:
        for contender in reversed(waiting):
            await contender.close()
