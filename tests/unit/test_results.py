"""Putting pieces in order, and holding dispatch back: no process, and no loop but for the outlet's events."""

from __future__ import annotations

import asyncio
import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize_async._results import LONG_LIST, Collector, Outlet, Reorder


@st.composite
def shuffled_pieces(draw):
    """A list cut into pieces, and the pieces in any order of arrival."""
    sizes = draw(st.lists(st.integers(1, 9), max_size=30))
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    pieces = [(start, list(range(start, start + size))) for start, size in zip(starts, sizes, strict=True)]
    return sum(sizes), draw(st.permutations(pieces))


@given(shuffled_pieces())
def test_any_order_of_arrival_becomes_input_order(case):
    """Each item once, in turn, as soon as it can be."""
    total, pieces = case
    reorder, out = Reorder(), []
    for start, values in pieces:
        for position, piece in reorder.put(start, values):
            assert position == len(out)
            out += piece

    assert out == list(range(total))
    assert reorder.position == total


@given(shuffled_pieces())
def test_a_collector_holds_the_whole_list(case):
    """Whatever came first."""
    total, pieces = case
    collector = Collector()
    for start, values in pieces:
        collector.put(start, values)

    assert collector.values == list(range(total))


@pytest.mark.parametrize(("length", "collects", "stays_young"), [(1, True, True), (2, True, False), (2, False, True)])
def test_a_long_list_is_no_young_object(length, collects, stays_young):
    """Else each look for garbage goes through all of it while it grows; whoever wants no such look has none."""
    collector, threshold = Collector(), gc.get_threshold()
    gc.set_threshold(0)  # none but those that are asked for
    try:
        if not collects:
            gc.disable()
        collector.put(0, [*range(length * LONG_LIST // 2)])
        is_young = any(each is collector.values for each in gc.get_objects(generation=0))
    finally:
        gc.enable()
        gc.set_threshold(*threshold)

    assert is_young == stays_young


async def test_an_outlet_gives_room_in_items_if_it_was_given_a_size():
    """Dispatched and not yet consumed is what counts."""
    outlet = Outlet(ordered=True, buffersize=5)
    outlet.dispatched(3)
    assert outlet.room() == 2
    outlet.dispatched(2)
    assert outlet.room() == 0
    outlet.put(0, [0, 1, 2])
    assert outlet.room() == 0
    outlet.consumed(0, 3)
    assert outlet.room() == 3


async def test_an_outlet_without_a_size_counts_chunks():
    """The right number of items is not known."""
    outlet = Outlet(ordered=False, buffersize=None)
    outlet.allow(2)
    outlet.dispatched(1000)
    assert outlet.room() is None
    outlet.dispatched(1000)
    assert outlet.room() == 0


async def test_waiting_for_room_ends_when_something_is_consumed():
    """Backpressure is an event, not a poll."""
    outlet = Outlet(ordered=True, buffersize=1)
    outlet.dispatched(1)
    waiting = asyncio.ensure_future(outlet.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    outlet.consumed(0, 1)

    await waiting


async def test_an_unordered_outlet_gives_pieces_as_they_come():
    """With the index of their first item."""
    outlet = Outlet(ordered=False, buffersize=None)
    outlet.allow(9)
    outlet.put(5, ["f"])
    outlet.put(0, ["a"])

    assert [outlet.take(), outlet.take(), outlet.take()] == [(5, ["f"]), (0, ["a"]), None]
