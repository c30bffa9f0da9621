"""What a thousand calls, and a million items, leave in the parent: nothing, and little."""

from __future__ import annotations

import asyncio
import gc

import psutil
import pytest

import leaks
from amorsize_async import AsyncExecutor, HookEvent, HookManager
from faults import figures, harm
from faults.outside import Program
from faults.semaphores import remembered
from faults.test_speed import loop_name

CALLS, WARM = 1000, 10


async def call(executor, number):
    """Make a call in one of the ways that there are; every tenth fails."""
    hooks = HookManager()
    hooks.register(HookEvent.POST_EXECUTE, lambda _: None)
    match number % 5:
        case 0:
            items = [3, harm.sys_exit] if number % 10 else [3, 4]
            await executor.execute(harm.perform, items, return_exceptions=True)
        case 1:
            async with executor.stream(harm.perform, iter(range(5))) as results:
                assert [value async for value in results] == [0, 1, 4, 9, 16]
        case 2:
            async with executor.stream(harm.perform, iter(range(500))) as results:
                assert await anext(results) == 0
        case 3:
            assert await executor.submit(harm.perform, 3) == 9
        case 4:
            assert await executor.execute(harm.perform, range(3), hooks=hooks) == [0, 1, 4]


@pytest.mark.leaks_file
async def test_I10_a_thousand_calls_leave_nothing():  # noqa: N802 - scenarios are numbered
    """Children, threads, descriptors, semaphores and tasks: after the thousandth call as after the tenth."""
    name = loop_name()
    with remembered() as semaphores:
        async with AsyncExecutor(2) as executor:
            for number in range(WARM):
                await call(executor, number)
            before, tasks, rss = leaks.Snapshot.take(), len(asyncio.all_tasks()), resident()
            held = len(semaphores.left())
            for number in range(WARM, CALLS):
                await call(executor, number)
            grown = leaks.left_since(before, {"file"}, leaks.GRACE)
            figures.number(f"tasks more after 1,000 calls, {name}", len(asyncio.all_tasks()) - tasks)
            figures.number(f"semaphores more after 1,000 calls, {name}", len(semaphores.left()) - held)
            bigger = resident() - rss

        for what in ("children", "threads", "descriptors"):
            figures.number(f"{what} more after 1,000 calls, {name}", len(getattr(grown, what)), told=grown.lines())
        # Five times the promise of 1 KiB: the allocator keeps pages as it likes.
        figures.number(f"KiB more for each call, {name}", round(bigger / 1024 / CALLS, 2), 1, slack=figures.SLACK)


def resident():
    """Bytes of memory that this process holds."""
    gc.collect()
    return psutil.Process().memory_info().rss


@pytest.mark.leaks_file
def test_C7_a_million_items_stream_in_little_memory():  # noqa: N802
    """In a program of its own, from its first item to its last."""
    with Program("million") as program:
        seconds = program.ended(110)
        assert program.complained == ""
        figures.number("MiB more for a million items streamed", float(program.printed.split()[0]), 64)
    figures.note("a million items streamed", f"{seconds:.1f} s")
