"""Who is quickest at thirteen kinds of work, every peer tuned and warm, and how late the event loop is meanwhile."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from ..answers import Answer, Promise, Settings, Table
from ..contenders import Ours, Serial
from ..loads import Load
from ..peers import Gather
from ..race import Entry, opened, race, race_cold, race_on, ratio
from ..reasons import REASONS
from ..rows import KINDS, ROWS

__all__ = ("PARTS", "ask")

PARTS = tuple(ROWS)
"""Each row is asked for alone, with pools of its own: a page can be made row by row."""

NO_PEERS = (Ours, Serial, Gather)
COLUMNS = ("contender", "time / ours", "cold / ours", "speedup", "lag p50 ms", "p99", "worst", "remarks")
SUMMARY = ("row", "ours / best peer", "cold", "efficiency", "lag p99 ms", "worst", "best peer, and why we lose")
NOTES = (
    "below 1, ours is quicker; medians of ratios within a round",
    "the best three of the first rounds run six times as many with ours, which count: who is best of nine was lucky",
    "these in three sets of new pools: pools of the same kind differ, too",
    "cold: from nothing to the first complete result, against the peer that is best in that",
    "whose first cold start took 1.5 times as long as the quickest one has only that one",
    "efficiency: work over the wall time of all workers, as our own report measures it; coroutines have none",
    "pools start their workers in the same way and are warm; peers have the best settings tried, ours has none",
)
SPANS = (0.2, 0.1)
"""Seconds that a turn lasts at least, in a full run and in a quick one: ticks enough, and eleven have turns."""
FINALISTS, SETS, ROUNDS_A_SET = 3, 3, 2
"""Peers that run once more, in so many sets of new pools, and in each so many times the rounds before."""
LAG_P99, LAG_WORST = 5, 50
AGAINST_POOLS = 10
"""Coroutines that wait: how many times as fast as the best pool that runs plain functions only."""


async def ask(settings: Settings) -> Answer:
    """Race all contenders that are installed over the row that is asked for."""
    row = ROWS[settings.part]
    load = row.load(5 if settings.quick else 1)
    kinds = [kind for kind in KINDS if kind.installed()] + ([Gather] if load.plain else [])
    entries = [Entry(kind(settings.workers), row.shares.get(kind.name, 1.0)) for kind in kinds]
    async with opened([entry.contender for entry in entries]):
        await race(load, entries, settings.rounds, tolerant=True, span=SPANS[settings.quick])
    final = _finalists(entries)
    for _ in range(SETS):
        async with opened([entry.contender for entry in final]):
            await race_on(load, _anew(final), 1, tolerant=True, span=0)  # does not count: it is news to these pools
            await race_on(load, final, ROUNDS_A_SET * settings.rounds, tolerant=True, span=SPANS[settings.quick])
    if row.cold:
        await race_cold(load, _startable(entries), max(1, settings.rounds // 2))
    entries[0].late += final[0].late
    entries[0].efficiency += final[0].efficiency
    tables = [_summary(settings.part, load, entries, final), _table(load, entries)]
    numbers = [_numbers(settings.part, load, entry, entries) for entry in entries if not entry.failure]
    return Answer(tables, _promises(settings.part, entries, final), numbers)


def _finalists(entries: Sequence[Entry]) -> list[Entry]:
    """Ours and the best peers, to run once more."""
    return _anew([entries[0], *sorted(_peers(entries), key=lambda entry: ratio(entry, entries[0]))[:FINALISTS]])


def _anew(entries: Sequence[Entry]) -> list[Entry]:
    """The same contenders, with nothing counted yet."""
    return [Entry(entry.contender, entry.share) for entry in entries]


def _startable(entries: Sequence[Entry]) -> list[Entry]:
    """Who has something to start, and runs all items: a part of them says nothing about a start."""
    out = (Serial, Gather)
    return [it for it in entries if not it.failure and it.share == 1 and not isinstance(it.contender, out)]


# ── what is compared ─────────────────────────────────────────────────────────────────────────────────────────────────


def _peers(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if not entry.failure and not isinstance(entry.contender, NO_PEERS)]


def _best(entries: Sequence[Entry]) -> Entry:
    return min(_peers(entries), key=lambda entry: ratio(entry, entries[0]))


def _over_best(entries: Sequence[Entry]) -> float:
    """Our time over the best peer's."""
    return ratio(entries[0], _best(entries))


def _cold_ratio(mine: Entry, its: Entry) -> float | None:
    """As `ratio`, from nothing to the first result; shares are not scaled up, so only whole loads are compared."""
    if not mine.cold or not its.cold or min(mine.share, its.share) < 1:
        return None
    return statistics.median(one / other for one, other in zip(mine.cold, its.cold, strict=False))


def _cold_over_best(entries: Sequence[Entry]) -> float | None:
    ratios = [_cold_ratio(entries[0], entry) for entry in _peers(entries)]
    return max((ratio for ratio in ratios if ratio is not None), default=None)


def _promises(name: str, entries: Sequence[Entry], final: Sequence[Entry]) -> list[Promise]:
    row, ours = ROWS[name], entries[0]
    promises = [
        Promise(f"{name}: time over the best peer", _over_best(final), row.limit),
        Promise(f"{name}: lag p99 in ms", ours.lag.p99, LAG_P99),
        Promise(f"{name}: worst lag in ms", ours.lag.worst, LAG_WORST),
    ]
    if row.efficiency is not None:
        reached = statistics.median(ours.efficiency)
        promises.append(Promise(f"{name}: efficiency", reached, round(row.efficiency, 2), at_least=True))
    if any(isinstance(entry.contender, Gather) for entry in entries):
        times = min(ratio(entry, ours) for entry in _peers(entries) if not entry.contender.coroutines)
        promises.append(Promise(f"{name}: times as fast as the best pool", times, AGAINST_POOLS, at_least=True))
    return promises


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _summary(name: str, load: Load, entries: Sequence[Entry], final: Sequence[Entry]) -> Table:
    """One line; those of all rows are read as one table."""
    ours, over = entries[0], _over_best(final)
    efficiency = None if load.plain else statistics.median(ours.efficiency)
    cells = [
        name,
        f"{over:.2f}",
        _two_digits(_cold_over_best(entries)),
        _two_digits(efficiency),
        f"{ours.lag.p99:.1f}",
        f"{ours.lag.worst:.1f}",
        f"{_best(final).name}{_reason(name, over)}",
    ]
    absent = [f"{kind.name} takes no part: {kind.needs} is not installed" for kind in KINDS if not kind.installed()]
    notes = [*NOTES, *absent, f"{name}: {ROWS[name].about}"]
    return Table("against the best tuned peer", SUMMARY, [cells], notes)


def _reason(name: str, over: float) -> str:
    """Why we lose, where we do: the best peer is quicker, by more than is promised."""
    return f": {REASONS.get(name, 'no reason is known')}" if over > max(1, ROWS[name].limit) else ""


def _table(load: Load, entries: Sequence[Entry]) -> Table:
    serial = next(entry for entry in entries if isinstance(entry.contender, Serial))
    notes = ["time: above 1 is slower than ours; speedup: over a plain loop; lag: of the event loop, its ticks 1 ms"]
    if any(entry.share < 1 for entry in entries):
        notes.append("who is scaled ran a part of the items, and its time was multiplied")
    if load.plain:
        notes.append("who cannot run coroutines calls a plain function that runs each on a loop of its own")
    notes += [f"{entry.name} failed: {entry.failure}" for entry in entries if entry.failure]
    rows = [_row(entry, entries[0], serial) for entry in entries if not entry.failure]
    return Table(f"{len(load.data):,} {load.name}", COLUMNS, rows, notes)


def _row(entry: Entry, ours: Entry, serial: Entry) -> list[str]:
    remarks = [entry.remark] if entry.remark else []
    if entry.share < 1:
        remarks.append(f"scaled from {entry.share:.1%} of the items")
    lag = entry.lag
    return [
        entry.name,
        f"{ratio(entry, ours):.2f}",
        _two_digits(_cold_ratio(entry, ours)),
        f"{ratio(serial, entry):.2f}",
        *(f"{value:.1f}" for value in (lag.p50, lag.p99, lag.worst)),
        ", ".join(remarks),
    ]


def _two_digits(number: float | None) -> str:
    return "" if number is None else f"{number:.2f}"


def _numbers(name: str, load: Load, entry: Entry, entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        "row": name,
        "about": ROWS[name].about,
        "items": len(load.data),
        "contender": entry.name,
        "peer": not isinstance(entry.contender, NO_PEERS),
        "ratio": ratio(entry, entries[0]),
        "cold_ratio": _cold_ratio(entry, entries[0]),
        "share": entry.share,
        "seconds": entry.seconds,
        "cold": entry.cold,
        "lag_ms": {"p50": entry.lag.p50, "p99": entry.lag.p99, "worst": entry.lag.worst},
        "efficiency": entry.efficiency,
        "remark": entry.remark,
    }
