"""How time and the parent's memory grow with the number of items, as a list and as a stream."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from amorsize_async import AsyncExecutor

from ..answers import Answer, Promise, Settings, Table
from ..loads import burning, next_number
from ..programs import printed

__all__ = ("ask",)

BARE = "(`async for` over numbers that are there, and no work)"
LIST, STREAM, GENERATOR = "list", "async for over a list", "async for over a generator"
CALLS = {
    LIST: "await executor.execute(next_number, items)",
    STREAM: "async for _ in executor.stream(next_number, items): pass",
    GENERATOR: "async for _ in executor.stream(next_number, items): pass",
}
ITEMS = {LIST: "list(range({size}))", STREAM: "list(range({size}))", GENERATOR: "(it for it in range({size}))"}

MEMORY = """
import asyncio, psutil
from amorsize_async import AsyncExecutor
from benchmarks.loads import next_number

async def sample(process, sizes):
    while True:
        sizes.append(process.memory_info().rss)
        await asyncio.sleep(0.005)

async def main():
    process, sizes = psutil.Process(), []
    async with AsyncExecutor({workers}) as executor:
        items = {warm}
        {call}
        before = process.memory_info().rss
        sampler = asyncio.create_task(sample(process, sizes))
        items = {items}
        {call}
        sizes.append(process.memory_info().rss)
        sampler.cancel()
    print((max(sizes) - before) / 2**20)

asyncio.run(main())
"""
"""Prints by how many MiB the memory of a new interpreter grew at most, after a run of 1,000 items."""

TRIVIAL, WORK = "trivial items", "items of 10 microseconds"
"""The series. In the first one, what a stream costs beside a list is all there is; the second is work to be done."""

WINDOW = 64
"""MiB of results that may wait for the consumer of a stream, however many items there are."""

KEPT = 0.8
"""Of the list's speed, what `async for` is to keep."""

Cells = dict[str, dict[int, list[float]]]
"""Numbers of each round, by form and size."""

Runs = dict[str, Callable[[int], Awaitable[Any]]]
"""By form, what runs so many items."""


async def ask(settings: Settings) -> Answer:
    """Time the forms in turn on one executor; then see the memory of each in a new interpreter."""
    sizes = [10**power for power in range(3, 6 if settings.quick else 7)]
    async with AsyncExecutor(settings.workers) as executor:
        trivial = await _seconds(_runs(executor, next_number), sizes, settings.rounds)
        work = {form: run for form, run in _runs(executor, burning(10e-6)).items() if form in {LIST, STREAM}}
        worked = await _seconds(work, sizes, settings.rounds)
    memory: Cells = {form: {size: [] for size in sizes} for form in CALLS}
    for _ in range(1 if settings.quick else 2):
        for form in CALLS:
            for size in sizes:
                memory[form][size].append(await _memory(form, size, settings.workers))
    memory[GENERATOR][10 * sizes[-1]] = [await _memory(GENERATOR, 10 * sizes[-1], settings.workers)]
    series = {TRIVIAL: trivial, WORK: worked}
    tables = [*(_table_of_speed(name, sizes, cells) for name, cells in series.items()), _table_of_memory(sizes, memory)]
    numbers = [{"series": name, "seconds": cells} for name, cells in series.items()]
    return Answer(tables, _promises(sizes, series, memory), [*numbers, {"series": TRIVIAL, "memory_mib": memory}])


def _runs(executor: AsyncExecutor, fn: Callable[[int], int]) -> Runs:
    async def consume(items: Any) -> None:
        async for _ in executor.stream(fn, items):
            pass

    return {
        LIST: lambda size: executor.execute(fn, list(range(size))),
        STREAM: lambda size: consume(list(range(size))),
        GENERATOR: lambda size: consume(item for item in range(size)),
        BARE: _bare,
    }


async def _seconds(runs: Runs, sizes: list[int], rounds: int) -> Cells:
    """Time each form once in every round; who leads changes. One more round, of the smallest size, counts nowhere."""
    seconds: Cells = {form: {size: [] for size in sizes} for form in runs}
    for form in runs:
        await runs[form](sizes[0])
    for size in sizes:
        for number in range(rounds):
            lead = number % len(runs)
            for form in [*runs][lead:] + [*runs][:lead]:
                gc.collect()
                began = time.perf_counter()
                await runs[form](size)
                seconds[form][size].append(time.perf_counter() - began)
    return seconds


async def _bare(size: int) -> None:
    """What the language itself takes for the loop."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(size):
            yield number

    async for _ in numbers():
        pass


async def _memory(form: str, size: int, workers: int) -> float:
    items, warm = ITEMS[form].format(size=size), ITEMS[form].format(size=1_000)
    return float(await printed(MEMORY.format(workers=workers, items=items, warm=warm, call=CALLS[form])))


def _nanoseconds(cells: Cells, form: str, size: int) -> float:
    return 1e9 * statistics.median(cells[form][size]) / size


def _table_of_speed(name: str, sizes: list[int], cells: Cells) -> Table:
    rows = [[form, *(f"{_nanoseconds(cells, form, size):,.0f}" for size in sizes), ""] for form in cells]
    notes = [_room(sizes[-1], cells)] if BARE in cells else []
    return Table(f"nanoseconds an item, {name}", ("form", *(f"{size:,} items" for size in sizes), ""), rows, notes)


def _room(most: int, cells: Cells) -> str:
    """What the promise leaves for a stream, and how much of that the language takes."""
    room, bare = _nanoseconds(cells, LIST, most) / KEPT, _nanoseconds(cells, BARE, most)
    return (
        f"{KEPT:g} of the list's speed leaves a stream {room:,.0f} ns an item at {most:,} items; "
        f"the language's own loop takes {bare:,.0f} of them"
    )


def _table_of_memory(sizes: list[int], memory: Cells) -> Table:
    rows = [[form, *(f"{statistics.median(memory[form][size]):.1f}" for size in sizes), ""] for form in CALLS]
    last = max(memory[GENERATOR])
    notes = [
        "of the parent, the most above what it was before; a list of a million ints takes 38 MiB by itself",
        f"a generator of {last:,} items: {min(memory[GENERATOR][last]):.1f} MiB",
    ]
    return Table("MiB that the parent grows by", ("form", *(f"{size:,} items" for size in sizes), ""), rows, notes)


def _promises(sizes: list[int], series: dict[str, Cells], memory: Cells) -> list[Promise]:
    most, last = sizes[-1], max(memory[GENERATOR])
    kept = [
        Promise(f"{most:,} {name}: speed of `async for` over that of the list", _kept(cells, most), KEPT, at_least=True)
        for name, cells in series.items()
    ]
    grown = min(memory[GENERATOR][last])
    return [*kept, Promise(f"a generator of {last:,} items: MiB that the parent grows by", grown, WINDOW)]


def _kept(cells: Cells, size: int) -> float:
    return statistics.median(mine / its for mine, its in zip(cells[LIST][size], cells[STREAM][size], strict=True))
