"""Who has the loop when, and how much goes at a turn."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize_async._stopwatch import Stopwatch
from amorsize_async._turns import Turn, together


@given(st.lists(st.integers(0, 50)), st.integers(1, 60))
def test_neighbours_go_together_within_a_bound(sizes, most):
    """In order, none lost; what is larger by itself stands alone."""
    groups = list(together(sizes, lambda size: size, most))

    assert [size for group in groups for size in group] == sizes
    assert all(group and (sum(group) <= most or len(group) == 1) for group in groups)
    for one, following in itertools.pairwise(groups):
        assert sum(one) + following[0] > most


async def test_turns_exclude_each_other_and_leave_every_second_iteration_free():
    """Two payloads of ten turns each; a ticker counts the iterations between."""
    alone, order, ticks, done = asyncio.Lock(), [], 0, False

    async def tick():
        nonlocal ticks
        while not done:
            ticks += 1
            order.append("free")
            await asyncio.sleep(0)

    async def payload(name):
        for _ in range(10):
            async with Turn(alone, Stopwatch()):
                order.append(name)

    ticker = asyncio.ensure_future(tick())
    await asyncio.gather(payload("a"), payload("b"))
    done = True
    await ticker

    taken = [index for index, name in enumerate(order) if name != "free"]
    assert len(taken) == 20
    assert all(later - earlier > 2 for earlier, later in itertools.pairwise(taken))


async def test_a_turn_that_is_cancelled_while_it_waits_is_free_for_others():
    """Before the lock, and after it."""
    alone = asyncio.Lock()

    async def use():
        async with Turn(alone, Stopwatch()):
            pytest.fail("it was cancelled")

    for iterations in range(3):
        waiting = asyncio.ensure_future(use())
        for _ in range(iterations):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not alone.locked()
