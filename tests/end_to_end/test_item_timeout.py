"""An item that runs too long: it alone fails, whatever it does, and its worker is replaced (D1, D2, D6, A14)."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
import time

import pytest

import jobs
from amorsize_async import AsyncExecutor, HookEvent, HookManager, execute_async
from amorsize_async.errors import ItemTimeoutError

LIMIT = 0.25


HANGING = [
    *((fn, 8) for fn in (jobs.hang, jobs.hold_the_interpreter, jobs.wait_long, jobs.block_the_loop)),
    *((fn, 1) for fn in (jobs.hang, jobs.wait_long)),  # alone in a chunk only the colour of a function matters
]


@pytest.mark.parametrize(("fn", "chunksize"), HANGING, ids=lambda value: getattr(value, "__name__", value))
async def test_d1_d2_only_the_item_that_hangs_fails(executor, fn, chunksize):
    """In Python, in C with the interpreter held, while awaiting, and while it blocks the loop of others."""
    results = await executor.execute(fn, range(8), chunksize=chunksize, item_timeout=LIMIT, return_exceptions=True)

    late = results.pop(3)
    assert results == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(late, ItemTimeoutError)
    assert isinstance(late, TimeoutError)
    assert (late.index, late.seconds) == (3, LIMIT)


async def test_an_item_whose_result_is_never_pickled_fails_alone(executor):
    """What is done between items is watched, too; whose it is is found by halving."""
    results = await executor.execute(
        jobs.hang_in_pickle, range(4), chunksize=4, item_timeout=0.2, return_exceptions=True
    )

    assert isinstance(results.pop(3), ItemTimeoutError)
    assert results == [0, 1, 2]


async def test_by_default_the_first_late_item_ends_the_call(each_executor):
    """As any failure does."""
    with pytest.raises(ItemTimeoutError, match=r"item 3 ran longer than item_timeout=0.2 s"):
        await each_executor.execute(jobs.hang, range(8), item_timeout=0.2)

    assert await each_executor.execute(jobs.square, range(4)) == [0, 1, 4, 9]


async def test_an_item_has_its_time_from_its_own_start(executor):
    """A chunk may take longer than one item, and so may waiting for a worker."""
    calls = [executor.execute(jobs.nap, [0.1] * 4, chunksize=4, item_timeout=0.3) for _ in range(3)]

    assert await asyncio.gather(*calls) == [[0.1] * 4] * 3


async def test_d6_the_start_of_a_worker_does_not_count(start_method):
    """Its initializer takes longer than any item may."""
    async with AsyncExecutor(1, start_method=start_method, initializer=time.sleep, initargs=(0.4,)) as executor:
        await executor.execute(jobs.die_on_odd, [1], return_exceptions=True)

        assert await executor.execute(jobs.square, [3], item_timeout=0.25) == [9]


async def test_a_late_item_is_told_as_an_error_and_its_worker_as_ended(executor):
    """Once, with the index, and the reason."""
    hooks, told = HookManager(), []
    hooks.register(HookEvent.ON_ERROR, lambda ctx: told.append(ctx.metadata["item_index"]), mode="inline")
    hooks.register(HookEvent.ON_WORKER_END, lambda ctx: told.append(ctx.metadata["reason"]), mode="inline")
    _, report = await executor.execute(
        jobs.hang, range(5), item_timeout=0.2, hooks=hooks, return_exceptions=True, return_report=True
    )

    assert [what for what in told if what != "finished"] == ["timeout", 3]
    assert (report.failed, report.workers_lost) == (1, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_a14_a_stopped_worker_is_replaced(each_executor):
    """One that is stopped in an item is late; one that is stopped before it takes its chunk is no item's fault."""
    for pid in each_executor.statistics().workers:
        os.kill(pid, signal.SIGSTOP)

    assert await each_executor.execute(jobs.square, range(4), item_timeout=0.3) == [0, 1, 4, 9]


async def test_a_blocked_loop_is_no_items_fault(executor):
    """The timer and the reply are found together, late; the workers live, and the call goes on."""
    call = asyncio.ensure_future(executor.execute(jobs.nap, [0.02] * 40, item_timeout=0.25, return_report=True))
    for _ in range(2):
        await asyncio.sleep(0.1)
        time.sleep(0.4)  # noqa: ASYNC251 - what a careless application does
    async with asyncio.timeout(20):
        results, report = await call

    assert results == [0.02] * 40
    assert (report.failed, executor.statistics().started) == (0, 2)


async def test_a_late_item_can_be_tried_again(executor, tmp_path):
    """Its attempts count the late ones."""
    stall = jobs.Stall(tmp_path / "attempts", 1)

    assert await executor.execute(stall, [7], item_timeout=0.3, retry=2) == [7]


async def test_what_cannot_be_ended_has_no_limit():
    """A thread; the error says what to use instead."""
    with pytest.raises(ValueError, match="nobody can end an item that runs in a thread"):
        await execute_async(jobs.square, [1], executor="thread", item_timeout=1)


async def test_coroutines_have_a_limit_anywhere():
    """Their own loop cancels them."""
    results = await execute_async(jobs.wait_long, range(5), executor="thread", item_timeout=0.2, return_exceptions=True)

    assert isinstance(results[3], ItemTimeoutError)


@pytest.mark.parametrize("limit", [0, -1, float("nan"), "1", True])
async def test_a_limit_is_a_positive_number(limit):
    """Checked before any worker starts."""
    with pytest.raises((TypeError, ValueError), match="item_timeout"):
        await execute_async(jobs.square, [1], item_timeout=limit)


def test_the_error_survives_pickling():
    """As it must, since the worker of a coroutine function makes it."""
    error = pickle.loads(pickle.dumps(ItemTimeoutError("late", index=3, seconds=0.5)))

    assert (str(error), error.index, error.seconds) == ("late", 3, 0.5)
