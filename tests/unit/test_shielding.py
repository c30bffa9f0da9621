"""Waits that a cancellation does not pass on."""

from __future__ import annotations

import asyncio
import gc

import pytest

from amorsize_async._shielding import finish


async def test_a_clean_up_whose_task_is_cancelled_before_it_begins_runs_all_the_same():
    """By whoever cancels all tasks: nothing of it was done yet, and nobody else would do it."""
    done = []

    async def clean_up():
        await asyncio.sleep(0)
        done.append(True)
        return "clean"

    others = asyncio.all_tasks()
    finishing = asyncio.ensure_future(finish(clean_up()))
    while not (begun := asyncio.all_tasks() - others - {finishing}):
        await asyncio.sleep(0)
        assert not finishing.done()
    begun.pop().cancel()

    assert (await finishing, done) == ("clean", [True])


async def test_what_a_clean_up_raises_is_seen_also_when_the_caller_is_cancelled(caplog):
    """By whoever looks at the cancellation; else asyncio logs that nobody has asked."""
    begun = asyncio.Event()

    async def clean_up():
        begun.set()
        await asyncio.sleep(0.01)
        raise ValueError("the clean-up failed")

    finishing = asyncio.ensure_future(finish(clean_up()))
    await begun.wait()
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await finishing
    seen = caught.value.__context__
    del caught, finishing
    gc.collect()

    assert isinstance(seen, ValueError)
    assert not caplog.records
