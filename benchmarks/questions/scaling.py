"""How time and the parent's memory grow with the number of trivial items, as a list and as a stream."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from amorsize_async import AsyncExecutor

from ..answers import Answer, Promise, Settings, Table
from ..loads import next_number
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

Cells = dict[str, dict[int, list[float]]]
"""Numbers of each round, by form and size."""


async def ask(settings: Settings) -> Answer:
    """Time the forms in turn on one executor; then see the memory of each in a new interpreter."""
    sizes = [10**power for power in range(3, 6 if settings.quick else 7)]
    async with AsyncExecutor(settings.workers) as executor:
        seconds = await _seconds(executor, sizes, settings.rounds)
    memory: Cells = {form: {size: [] for size in sizes} for form in CALLS}
    for _ in range(1 if settings.quick else 2):
        for form in CALLS:
            for size in sizes:
                memory[form][size].append(await _memory(form, size, settings.workers))
    tables = [_table_of_speed(sizes, seconds), _table_of_memory(sizes, memory)]
    return Answer(tables, _promises(sizes, seconds, memory), [{"seconds": seconds, "memory_mib": memory}])


async def _seconds(executor: AsyncExecutor, sizes: list[int], rounds: int) -> Cells:
    async def consume(items: Any) -> None:
        async for _ in executor.stream(next_number, items):
            pass

    runs: dict[str, Callable[[int], Awaitable[Any]]] = {
        LIST: lambda size: executor.execute(next_number, list(range(size))),
        STREAM: lambda size: consume(list(range(size))),
        GENERATOR: lambda size: consume(item for item in range(size)),
        BARE: _bare,
    }
    seconds: Cells = {form: {size: [] for size in sizes} for form in runs}
    for size in sizes:
        for number in range(-1, rounds):
            forms = [*runs][number % len(runs) :] + [*runs][: number % len(runs)]
            for form in forms:
                gc.collect()
                began = time.perf_counter()
                await runs[form](size)
                if number >= 0:
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


def _table_of_speed(sizes: list[int], seconds: Cells) -> Table:
    rows = [
        [form, *(f"{1e9 * statistics.median(seconds[form][size]) / size:,.0f}" for size in sizes), ""]
        for form in seconds
    ]
    return Table("nanoseconds an item", ("form", *(f"{size:,} items" for size in sizes), ""), rows)


def _table_of_memory(sizes: list[int], memory: Cells) -> Table:
    rows = [[form, *(f"{statistics.median(memory[form][size]):.1f}" for size in sizes), ""] for form in CALLS]
    notes = ["of the parent, the most above what it was before; a list of a million ints takes 38 MiB by itself"]
    return Table("MiB that the parent grows by", ("form", *(f"{size:,} items" for size in sizes), ""), rows, notes)


def _promises(sizes: list[int], seconds: Cells, memory: Cells) -> list[Promise]:
    most, fewer = sizes[-1], sizes[-2]
    pairs = zip(seconds[LIST][most], seconds[STREAM][most], strict=True)
    grown = min(memory[GENERATOR][most]) - min(memory[GENERATOR][fewer])
    return [
        Promise(
            f"{most:,} items: speed of `async for` over that of the list",
            statistics.median(mine / its for mine, its in pairs),
            0.8,
            at_least=True,
        ),
        Promise(f"a generator of {most:,} items takes so many MiB more than one of {fewer:,}", grown, 8),
    ]
