"""The size of the next chunk, decided from costs alone: no loop, no process."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize_async._chunking import (
    BUDGET_SECONDS,
    MAX_CHUNK_BYTES,
    MAX_GROWTH,
    MAX_STRIDE,
    TARGET_SECONDS,
    ChunkSizer,
)
from amorsize_async._common_cost import PAIR_EVERY
from amorsize_async._costs import CostMemory, Costs, Observation


def settled(seconds, n_jobs=2, rounds=12, **fields):
    """A sizer that has seen a dozen chunks of items that cost `seconds` each."""
    sizer = ChunkSizer(n_jobs)
    for _ in range(rounds):
        size = sizer.next_size(None)
        sizer.observe(Observation(size, size * seconds, **fields))
    return sizer


def test_the_first_chunk_is_one_item():
    """Nothing is known before the first item, and it may be the heaviest of all."""
    assert ChunkSizer(4).next_size(1_000_000) == 1


@pytest.mark.parametrize("seconds", [1e-4, 1e-3, 5e-3], ids=["100us", "1ms", "5ms"])
def test_chunks_settle_at_the_target_time(seconds):
    """A chunk holds about 30 ms of work, whatever one item costs."""
    size = settled(seconds).next_size(None)

    assert math.isclose(size * seconds, TARGET_SECONDS, rel_tol=0.2)


def test_a_heavy_item_goes_alone():
    """Items that cost more than the target are not put together."""
    assert settled(1.0).next_size(None) == 1


def test_growth_is_bounded_from_step_to_step():
    """One cheap item must not lead to a chunk of a million."""
    sizer = ChunkSizer(2)
    sizer.observe(Observation(1, 1e-9))

    assert sizer.next_size(None) == MAX_GROWTH


def test_the_tail_is_cut_into_smaller_chunks():
    """Near the end each worker gets a part of what is left, so that none works alone for long."""
    sizer = settled(1e-3, n_jobs=4)

    assert sizer.next_size(40) == 6


def test_tiny_items_keep_the_parent_free_even_in_the_tail():
    """The floor P*h/t holds, since a chunk costs the parent something; but each worker gets one, if it is worth it."""
    sizer = settled(1e-6, n_jobs=64, overhead_seconds=1e-4)

    assert sizer.next_size(10_000_000) >= 64 * 3e-4 / 1e-6 * 0.9
    assert sizer.next_size(128_000) == 2_000
    assert sizer.next_size(6_400) == 1_000


def test_the_last_items_of_a_run_go_together():
    """Half of the rest, and half of that, down to one, would cost more than it evens out."""
    sizer = settled(1e-5)

    assert [sizer.next_size(left) for left in (100, 50, 3, 1)] == [100, 50, 3, 1]


def test_what_a_chunk_would_leave_over_goes_with_it():
    """A last chunk worth less than a millisecond costs as much as it does."""
    sizer = settled(1e-4)

    assert [sizer.next_size(left) for left in (61, 39, 24, 19, 15)] == [31, 20, 12, 19, 15]


def test_what_takes_long_to_pickle_goes_in_several_turns_of_the_loop():
    """Three for the first chunk of each worker, which waits for it, and twelve for those that come while it works."""
    costs = Costs(1e-5, item_transfer=9e-5)
    sizer = ChunkSizer(2, costs=costs)

    assert sizer.slice_size() == 3
    for size in (10, 10, 40):
        assert sizer.next_size(None) == pytest.approx(size, abs=1)
        sizer.taken()
    sizer.observe(Observation(24, 24e-5, transfer_seconds=216e-5))
    assert sizer.next_size(None) == pytest.approx(40, abs=1)


@pytest.mark.parametrize(("work", "steady"), [(0.0002, False), (0.02, True)], ids=["summed up", "worked on"])
def test_no_chunk_of_arrays_waits_behind_another_where_the_memory_costs_more_than_the_work(work, steady):
    """It would hide a round trip, and take memory that is dear to get; small items have no such costs."""
    sizer = ChunkSizer(2)
    assert not sizer.steady  # nothing is known
    sizer.observe(Observation(1, work, bytes_in=1 << 20, bytes_copied=1 << 20))

    assert sizer.steady is steady
    assert settled(1e-7).steady


def test_single_items_at_the_end_do_not_make_the_next_run_begin_small():
    """What moving one takes is mostly what moving any chunk takes."""
    sizer = settled(1e-5)
    before = sizer.next_size(None)
    for _ in range(10):
        sizer.observe(Observation(1, 1e-5, transfer_seconds=5e-5))

    assert sizer.next_size(None) == before


def test_bytes_bound_a_chunk_in_either_direction():
    """Large results shrink chunks, so that no reply holds the loop."""
    size = settled(1e-6, bytes_out=1).next_size(None)
    sizer = ChunkSizer(2)
    for _ in range(12):
        n = sizer.next_size(None)
        sizer.observe(Observation(n, n * 1e-6, bytes_out=n * 10_000))

    assert sizer.next_size(None) <= MAX_CHUNK_BYTES / 10_000 < size


MIB = 1 << 20


def sizes_of_a_run(cost, items=2000, **options):
    """The sizes of a run's chunks; `cost(start, size)` gives the bytes of a chunk, and a MiB takes 4 ms to move."""
    sizer = ChunkSizer(2, max_bytes=MAX_CHUNK_BYTES, **options)
    sizes, done = [], 0
    while done < items:
        size = min(sizer.next_size(items - done), items - done)
        sizer.taken()
        moved = cost(done, size)
        sizer.observe(Observation(size, size * 1e-6, bytes_out=moved, transfer_seconds=moved * 4e-3 / MIB))
        sizes.append(size)
        done += size
    return sizes, sizer


def test_items_that_refer_to_one_large_object_go_together():
    """Alone, each looks as heavy as that, and it would be sent two thousand times."""
    sizes, sizer = sizes_of_a_run(lambda _, size: MIB + 40 * size)

    assert len(sizes) < 30
    again, _ = sizes_of_a_run(lambda _, size: MIB + 40 * size, costs=sizer.costs)
    assert len(again) < 20


def test_items_that_are_large_themselves_stay_alone():
    """Now and then two of them show that nothing is common to them."""
    sizes, _ = sizes_of_a_run(lambda _, size: 5 * MIB * size)

    assert set(sizes) == {1, 2}
    assert sizes.count(2) <= len(sizes) / PAIR_EVERY


def test_items_that_have_nothing_in_common_any_more_go_in_small_chunks_again():
    """What the first twenty thousand share, the others do not have; each has 64 KiB of its own.

    The bound is passed by no more than what was common.
    """

    def cost(start, size):
        return MIB + 40 * size if start < 20_000 else (MIB // 16) * size

    sizes, _ = sizes_of_a_run(cost, items=40_000)

    assert max(sizes) > 500
    assert max(sizes[-200:]) <= 32


@pytest.mark.parametrize("every", [3, 5, 10, 50])
def test_a_large_item_and_an_almost_empty_one_only_look_as_if_they_shared_something(every):
    """Together they weigh as much as the single ones before them. A chunk may be a few times too large for it, once."""
    random = Random(every)
    sizes = [10 if random.randrange(every) == 0 else 5 * MIB for _ in range(2000)]
    chunks: list[int] = []

    def cost(start, size):
        chunks.append(sum(sizes[start : start + size]))
        return chunks[-1]

    sizes_of_a_run(cost)

    assert max(chunks) <= 5 * MAX_CHUNK_BYTES


def test_what_an_earlier_run_found_common_is_believed_a_little_at_a_time():
    """The items of the next run may be anything."""
    sizer = ChunkSizer(2, costs=Costs(1e-6, common=5 * MIB))
    sizes = []
    for _ in range(3):
        sizes.append(sizer.next_size(None))
        sizer.observe(Observation(sizes[-1], 1e-6, bytes_out=5 * MIB))

    assert sizes == [4, 8, 16]


def test_items_of_more_than_a_chunk_have_no_company():
    """To learn from two of them is not worth any amount of memory."""
    sizes, _ = sizes_of_a_run(lambda _, size: 9 * MIB * size, items=200)

    assert set(sizes) == {1}


def test_a_fixed_chunksize_is_kept_and_has_no_budget():
    """What the user chose is not corrected."""
    sizer = ChunkSizer(2, chunksize=7)
    sizer.observe(Observation(7, 70.0))

    assert (sizer.next_size(3), sizer.budget) == (7, math.inf)
    assert ChunkSizer(2).budget == BUDGET_SECONDS


def test_coroutines_are_sized_by_their_cpu_time():
    """A hundred sleeping coroutines cost no more than one."""
    sizer = ChunkSizer(2, is_async=True)
    for _ in range(6):
        n = sizer.next_size(None)
        sizer.observe(Observation(n, 0.1, cpu_seconds=n * 1e-5))

    assert sizer.next_size(None) == 1000
    assert sizer.next_size(100) == 50
    assert sizer.next_size(50) == 50  # the other half, and not a half of it


def test_only_tiny_items_are_run_in_strides():
    """Exact blame costs 0.1 microseconds an item: worth it for all but the tiniest."""
    assert settled(1e-3).stride() == 1
    assert settled(1e-7).stride() > 50


def test_a_remembered_cost_skips_the_ramp():
    """The second run of a function starts with full chunks."""
    memory = CostMemory()
    memory.remember(b"f", settled(1e-3).costs)

    assert ChunkSizer(2, costs=memory.recall(b"f")).next_size(None) == settled(1e-3).next_size(None)


def test_the_oldest_costs_are_forgotten_first():
    """The memory is bounded."""
    memory = CostMemory(limit=2)
    for name in (b"a", b"b", b"c"):
        memory.remember(name, Costs(1.0))

    assert (memory.recall(b"a"), memory.recall(b"c")) == (None, Costs(1.0))


positive = st.floats(min_value=0, max_value=1e3, allow_nan=False)


@given(
    st.lists(st.tuples(st.integers(1, 10**6), positive, positive, st.integers(0, 10**9), positive), max_size=20),
    st.integers(1, 256),
    st.one_of(st.none(), st.integers(0, 10**9)),
    st.booleans(),
)
def test_any_history_gives_a_size_of_at_least_one_within_the_caps(history, n_jobs, remaining, is_async):
    """Whatever was seen, the next size is a whole number that the caps allow."""
    sizer = ChunkSizer(n_jobs, is_async=is_async, most=5000)
    for items, seconds, cpu, size, transfer in history:
        sizer.observe(Observation(items, seconds, cpu, size, size, transfer, transfer))
        assert 1 <= sizer.next_size(remaining) <= 5000
        assert 1 <= sizer.stride() <= MAX_STRIDE
