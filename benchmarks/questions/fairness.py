"""How long a small call waits beside a huge one on the same workers."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from amorsize_async import AsyncExecutor

from ..answers import Answer, Promise, Settings, Table
from ..contenders import start_context
from ..loads import Load, burning

__all__ = ("ask",)

PERIOD = 0.1
"""Seconds between two small calls; they come whether or not those before them are done, as requests do."""

FEW = 4
"""Items of a small call."""

PIECE = 20
"""Items of a chunk of the peers' huge call: 20 ms, about what the library chooses."""


@dataclass(slots=True)
class Kind:
    """One way to have both calls. waits: seconds of each small call, from issue to result. huge: of each huge call."""

    name: str
    huge: Callable[[], Awaitable[Any]]
    small: Callable[[], Awaitable[Any]]
    waits: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


async def ask(settings: Settings) -> Answer:
    """Issue small calls every 100 ms while a huge one runs, first on idle workers, then beside it; in turn."""
    load = Load("items of 1 millisecond", burning(1e-3), list(range(1_000 if settings.quick else 4_000)))
    async with AsyncExecutor(settings.workers) as executor:
        executors = ProcessPoolExecutor(settings.workers, mp_context=start_context())
        pool = await asyncio.to_thread(start_context().Pool, settings.workers)
        try:
            kinds = [*_ours(executor, load), _executor_map(executors, load), *_pool_map(pool, load)]
            await _rounds(kinds, settings.rounds)
        finally:
            await asyncio.to_thread(_closed, executors, pool)
    return Answer([_table(load, kinds)], _promises(kinds), [_numbers(kind) for kind in kinds])


def _ours(executor: AsyncExecutor, load: Load) -> list[Kind]:
    def small() -> Awaitable[Any]:
        return executor.execute(load.fn, load.data[:FEW])

    def huge() -> Awaitable[Any]:
        return executor.execute(load.fn, load.data)

    return [
        Kind("amorsize_async, idle", lambda: asyncio.sleep(10 * PERIOD), small),
        Kind("amorsize_async", huge, small),
    ]


def _executor_map(executors: ProcessPoolExecutor, load: Load) -> Kind:
    """All chunks are submitted at once, as its `map` does; waited for on the loop, so that no thread is short."""
    pieces = [load.data[start : start + PIECE] for start in range(0, len(load.data), PIECE)]

    def run(some: Sequence[Sequence[int]]) -> Awaitable[Any]:
        futures = [executors.submit(_each, load.fn, piece) for piece in some]
        return asyncio.gather(*map(asyncio.wrap_future, futures))

    few = [[item] for item in load.data[:FEW]]
    return Kind(f"ProcessPoolExecutor, chunks of {PIECE}", lambda: run(pieces), lambda: run(few))


def _pool_map(pool: Any, load: Load) -> list[Kind]:
    def run(data: Sequence[int], chunksize: int | None) -> Awaitable[Any]:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        pool.map_async(load.fn, data, chunksize, lambda _values: loop.call_soon_threadsafe(done.set))
        return done.wait()

    def small() -> Awaitable[Any]:
        return run(load.data[:FEW], 1)

    return [
        Kind("Pool.map, chunks of its own choice", lambda: run(load.data, None), small),
        Kind(f"Pool.map, chunks of {PIECE}", lambda: run(load.data, PIECE), small),
    ]


def _each(fn: Callable[[int], int], items: Sequence[int]) -> list[int]:
    return [fn(item) for item in items]


def _closed(executors: ProcessPoolExecutor, pool: Any) -> None:
    executors.shutdown()
    pool.close()
    pool.join()


async def _rounds(kinds: Sequence[Kind], rounds: int) -> None:
    for kind in kinds:
        await kind.small()
    for number in range(rounds):
        lead = number % len(kinds)
        for kind in [*kinds[lead:], *kinds[:lead]]:
            await _beside(kind)


async def _beside(kind: Kind) -> None:
    """One huge call, and small ones as long as it runs."""
    loop = asyncio.get_running_loop()

    async def timed(call: Callable[[], Awaitable[Any]], seconds: list[float]) -> None:
        began = loop.time()
        await call()
        seconds.append(loop.time() - began)

    async with asyncio.TaskGroup() as group:
        huge = group.create_task(timed(kind.huge, kind.seconds))
        while not (await asyncio.wait([huge], timeout=PERIOD))[0]:
            group.create_task(timed(kind.small, kind.waits))


# ── what is told ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def _table(load: Load, kinds: Sequence[Kind]) -> Table:
    rows = [
        [
            kind.name,
            *(f"{1e3 * _quantile(kind.waits, share):.1f}" for share in (0.5, 0.95, 1)),
            str(len(kind.waits)),
            f"{statistics.median(kind.seconds):.2f}",
        ]
        for kind in kinds
    ]
    notes = [
        f"small: {FEW} items of 1 ms, every {1e3 * PERIOD:.0f} ms while the huge call runs ({len(load.data):,} items)",
        "idle: the same small calls while nothing else runs; a second stands in for the huge call",
    ]
    columns = ("small calls beside a huge one", "wait p50 ms", "p95", "worst", "calls", "seconds of the huge call")
    return Table("how long a small call waits", columns, rows, notes)


def _promises(kinds: Sequence[Kind]) -> list[Promise]:
    waits = kinds[1].waits
    return [
        Promise("a small call beside a huge one: wait p50 in ms", 1e3 * _quantile(waits, 0.5), 50),
        Promise("a small call beside a huge one: wait p95 in ms", 1e3 * _quantile(waits, 0.95), 100),
    ]


def _numbers(kind: Kind) -> dict[str, Any]:
    return {"kind": kind.name, "waits": kind.waits, "huge_seconds": kind.seconds}
