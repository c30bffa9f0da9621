"""How long the peers take for the same work, and how late the event loop is meanwhile."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence

from ..answers import Answer, Promise, Settings, Table
from ..contenders import Contender, ExecutorMap, Joblib, NaiveGather, Ours, PoolMap, Serial, TunedExecutorMap
from ..lag import Lag, Ticker
from ..loads import Load, burning, next_number
from ..race import Entry, opened, race, ratio

__all__ = ("ask",)

KINDS = (Ours, Serial, PoolMap, TunedExecutorMap, ExecutorMap, Joblib, NaiveGather)
PEERS = {TunedExecutorMap.name, PoolMap.name, Joblib.name}
"""Who may be the best tuned peer: those that group items."""

COLUMNS = ("contender", "time / ours", "lag p50 ms", "p99", "worst", "efficiency", "remarks")


async def ask(settings: Settings) -> Answer:
    """Race all contenders that are installed over three loads, with items of 50 ns to 1 ms."""
    contenders = [kind(settings.workers) for kind in KINDS if kind.installed()]
    notes = [f"{kind.name} takes no part: {kind.needs} is not installed" for kind in KINDS if not kind.installed()]
    if settings.quick:
        notes.append("quick: a fifth of the items, all of which the promises are about")
    scale = 5 if settings.quick else 1
    tiny = Load("items of nearly nothing", next_number, range(1_000_000 // scale))
    small = Load("items of 10 microseconds", burning(10e-6), range(100_000 // scale))
    large = Load("items of 1 millisecond", burning(1e-3), range(2_000 // scale))
    async with opened(contenders):
        floor = await _floor(contenders[0])
        races = [
            await _raced(tiny, contenders, settings, {Joblib: 0.1, ExecutorMap: 0.01, NaiveGather: 0.01}),
            await _raced(small, contenders, settings, {ExecutorMap: 0.1}),
            await _raced(large, contenders, settings, {}),
        ]
    loads = (tiny, small, large)
    tables = [_table(load, entries, floor, notes) for load, entries in zip(loads, races, strict=True)]
    numbers = [_numbers(load, entry, entries) for load, entries in zip(loads, races, strict=True) for entry in entries]
    return Answer(tables, _promises(*races), numbers)


async def _raced(
    load: Load, contenders: Sequence[Contender], settings: Settings, shares: dict[type[Contender], float]
) -> list[Entry]:
    entries = [Entry(contender, shares.get(type(contender), 1.0)) for contender in contenders]
    await race(load, entries, settings.rounds)
    return entries


async def _floor(ours: Contender) -> Lag:
    """How late an idle loop is while the workers burn: the part of the lag that is the machine's."""
    assert isinstance(ours, Ours)
    burn = burning(0.5)
    async with Ticker() as ticker:
        began = time.perf_counter()
        while time.perf_counter() - began < 1:
            await asyncio.gather(*[ours.executor.submit(burn, seed) for seed in range(ours.workers)])
    return Lag.of(ticker.late)


def _table(load: Load, entries: Sequence[Entry], floor: Lag, remarks: Sequence[str]) -> Table:
    reference = entries[0]
    rows = [_row(entry, reference) for entry in entries]
    rows.append(
        ["(no contender, workers busy)", "", f"{floor.p50:.1f}", f"{floor.p99:.1f}", f"{floor.worst:.1f}", "", ""]
    )
    notes = ["times are medians of ratios within a round; above 1 is slower than ours", *remarks]
    if any(entry.share < 1 for entry in entries):
        notes.insert(1, "who is scaled ran a part of the items, and its time was multiplied")
    return Table(f"{len(load.data):,} {load.name}", COLUMNS, rows, notes)


def _row(entry: Entry, reference: Entry) -> list[str]:
    remarks = [entry.remark] if entry.remark else []
    if entry.share < 1:
        remarks.append(f"scaled from {entry.share:.0%} of the items")
    lag = entry.lag
    efficiency = f"{statistics.median(entry.efficiency):.2f}" if entry.efficiency else ""
    lags = [f"{lag.p50:.1f}", f"{lag.p99:.1f}", f"{lag.worst:.1f}"]
    return [entry.name, f"{ratio(entry, reference):.2f}", *lags, efficiency, ", ".join(remarks)]


def _promises(tiny: Sequence[Entry], small: Sequence[Entry], large: Sequence[Entry]) -> list[Promise]:
    against = {entry.name: ratio(tiny[0], entry) for entry in tiny}
    best = max(ratio(small[0], entry) for entry in small if entry.name in PEERS)
    naive = next(ratio(entry, small[0]) for entry in small if isinstance(entry.contender, NaiveGather))
    return [
        Promise("items of nearly nothing: time over multiprocessing.Pool.map", against[PoolMap.name], 1.6),
        Promise("items of nearly nothing: lag p99 in ms", tiny[0].lag.p99, 5),
        Promise("items of 10 microseconds: times as fast as the naive gather", naive, 25, at_least=True),
        Promise("items of 10 microseconds: time over the best tuned peer", best, 1.1),
        Promise("items of 1 millisecond: efficiency", statistics.median(large[0].efficiency), 0.9, at_least=True),
    ]


def _numbers(load: Load, entry: Entry, entries: Sequence[Entry]) -> dict[str, object]:
    return {
        "load": load.name,
        "items": len(load.data),
        "contender": entry.name,
        "ratio": ratio(entry, entries[0]),
        "share": entry.share,
        "seconds": entry.seconds,
        "lag_ms": {"p50": entry.lag.p50, "p99": entry.lag.p99, "worst": entry.lag.worst},
        "efficiency": entry.efficiency,
        "remark": entry.remark,
    }
