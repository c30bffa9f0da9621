"""Reading the input: bounded, once, closed at the end, and never blocking the loop."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

import pytest

from amorsize_async._source import AsyncSource, SlicedSource, ThreadSource, open_source


async def taken(source, count=7):
    """Everything that a source gives, in pieces."""
    items = []
    while await source.fill(count):
        items += source.take(count)
    await source.aclose()
    return items


async def numbers(stop):
    """An async generator."""
    for n in range(stop):
        yield n


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ([1, 2], SlicedSource),
        (range(9), SlicedSource),
        ("ab", SlicedSource),
        ({1, 2}, ThreadSource),
        (dict.fromkeys([1]).keys(), ThreadSource),
        (type("Mine", (list,), {})([1, 2]), ThreadSource),
    ],
    ids=["list", "range", "str", "set", "view", "list subclass"],
)
async def test_each_kind_of_input_has_its_reader(data, kind):
    """Built-in sequences are sliced; whatever may run user code is read in a thread."""
    source = open_source(data)

    assert type(source) is kind
    assert await taken(source) == list(data)


@pytest.mark.parametrize("count", [1, 7, 1000])
@pytest.mark.parametrize("stop", [0, 1, 6, 7, 8, 500])
@pytest.mark.parametrize("form", [iter, lambda items: numbers(len(items))], ids=["iterator", "async generator"])
async def test_everything_is_read_once_in_order(form, stop, count):
    """Whatever the sizes of the pieces; the total is known at the end."""
    source = open_source(form(range(stop)))

    assert await taken(source, count) == list(range(stop))
    assert source.error is None


async def test_a_range_is_sliced_into_ranges():
    """Nothing is copied."""
    source = open_source(range(10))
    await source.fill(4)

    assert source.take(4) == range(4)


async def test_an_iterator_is_read_no_further_than_asked():
    """About one chunk ahead."""
    pulled = itertools.count()
    source = ThreadSource(next(pulled) for _ in itertools.count())
    await source.fill(10)
    source.take(10)
    await source.fill(10)
    await source.aclose()

    assert next(pulled) <= 21


async def test_only_one_thread_touches_an_iterator():
    """Generators are not safe to share."""
    threads = set()

    def watching():
        for n in range(500):
            threads.add(threading.get_ident())
            yield n

    assert len(await taken(ThreadSource(watching()))) == 500
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_a_slow_iterator_gives_what_it_has():
    """A chunk does not wait until it is full."""
    gate = threading.Event()

    def slow():
        yield 1
        gate.wait(10)
        yield 2

    source = ThreadSource(slow())
    assert await source.fill(100)
    assert source.take(100) == [1]
    gate.set()
    assert await source.fill(100)
    assert source.take(100) == [2]
    assert not await source.fill(100)
    await source.aclose()


@pytest.mark.parametrize("stop", [0, 1, 300])
async def test_items_before_an_exception_are_given(stop):
    """Then the error is there, with the index that it came at."""

    def broken():
        yield from range(stop)
        raise OSError("gone")

    source = ThreadSource(broken())
    assert await taken(source) == list(range(stop))
    assert (source.error.index, type(source.error.__cause__)) == (stop, OSError)


async def test_a_generator_is_closed_where_it_ran():
    """Its clean-up runs in its own thread, before closing returns."""
    ends = []

    def watched():
        try:
            yield from itertools.count()
        finally:
            ends.append(threading.current_thread().name)

    source = ThreadSource(watched())
    await source.fill(3)
    await source.aclose()

    assert ends == ["amorsize-input"]


async def test_a_file_stays_open(tmp_path):
    """It is an iterator, and its owner's to close."""
    path = tmp_path / "lines"
    path.write_text("a\nb\n")
    with path.open() as file:
        assert await taken(open_source(file)) == ["a\n", "b\n"]
        assert not file.closed


async def test_closing_does_not_wait_long_for_an_iterator_that_hangs():
    """Its thread is a daemon, which ends when the iterator returns."""
    release = threading.Event()

    def hanging():
        yield 1
        release.wait(10)

    source = ThreadSource(hanging())
    await source.fill(1)
    source.take(1)
    began = time.perf_counter()
    await source.aclose()
    release.set()

    assert time.perf_counter() - began < 1.0


async def test_an_async_generator_that_never_waits_does_not_hold_the_loop():
    """Other tasks get their turn between pieces."""
    turns = 0

    async def tick():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    ticker = asyncio.ensure_future(tick())
    source = AsyncSource(numbers(20_000))
    assert await source.fill(20_000)
    ticker.cancel()
    await source.aclose()

    assert turns > 20


async def test_a_length_that_lies_or_raises_is_no_error():
    """Without a right length there is no percentage, and nothing else."""

    class Liar:
        def __init__(self, length):
            self.length = length

        def __len__(self):
            return self.length()

        def __iter__(self):
            return iter([1, 2, 3])

    for length in (lambda: 99, lambda: 1, lambda: 1 / 0):
        source = open_source(Liar(length))
        assert await taken(source) == [1, 2, 3]
        assert source.total in {3, 99, 1}
