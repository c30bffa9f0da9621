"""Reading the input: bounded, once, closed at the end, and never blocking the loop."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

import pytest

from amorsize_async._reading import ThreadSource
from amorsize_async._source import SlicedSource, open_source


async def opened(data):
    """A source that has begun to read."""
    source = open_source(data)
    await source.open()
    return source


async def taken(source, count=7):
    """Everything that a source gives, in pieces."""
    await source.open()
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
    source = await opened(range(10))
    await source.fill(4)

    assert source.take(4) == range(4)


async def test_an_iterator_is_read_no_further_than_asked():
    """About one chunk ahead."""
    pulled = itertools.count()
    source = await opened(next(pulled) for _ in itertools.count())
    await source.fill(10)
    source.take(10)
    await source.fill(10)
    await source.aclose()

    assert next(pulled) <= 21


@pytest.mark.parametrize("form", [iter, lambda items: numbers(len(items))], ids=["iterator", "async generator"])
async def test_who_may_read_ahead_knows_the_end_before_the_last_chunk(form):
    """So that the last chunks can be made smaller, as those of a list."""
    source = await opened(form(range(30)))
    await source.fill(10, ahead=100)
    source.take(10)
    async with asyncio.timeout(5):
        while source.total is None:
            await source.fill(10, ahead=100)
            await asyncio.sleep(0)

    assert (source.total, source.taken) == (30, 10)
    await source.aclose()


@pytest.mark.parametrize("form", ["generator", "async generator"])
async def test_who_raises_has_no_end(form):
    """Nobody knows how many items there would have been: what came is not all, and no 100 percent."""

    def broken():
        yield from range(30)
        raise ValueError

    async def broken_too():
        for number in broken():
            yield number

    source = await opened(broken() if form == "generator" else broken_too())
    while source.error is None:
        await source.fill(10, ahead=100)
        await asyncio.sleep(0)
    await source.fill(10, ahead=100)

    assert source.total is None
    await source.aclose()


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

    source = await opened(slow())
    assert await source.fill(100)
    assert source.take(100) == [1]
    gate.set()
    assert await source.fill(100)
    assert source.take(100) == [2]
    assert not await source.fill(100)
    await source.aclose()


async def test_an_item_that_is_waited_for_is_heard_at_once():
    """Although the reader was to read many more before it tells, and waits for the one after."""
    gates = [threading.Event() for _ in range(3)]

    def slow():
        yield from range(10)
        for number, gate in enumerate(gates, 10):
            gate.wait(30)
            yield number

    source = await opened(slow())
    await source.fill(10, ahead=100)
    assert source.take(10) == list(range(10))
    for number, gate in enumerate(gates, 10):
        waiting = asyncio.ensure_future(source.fill(1, ahead=100))
        await asyncio.sleep(0)  # it waits now
        gate.set()
        async with asyncio.timeout(10):
            assert await waiting
        assert source.take(1) == [number]
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

    source = await opened(watched())
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

    source = await opened(hanging())
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
    source = await opened(numbers(20_000))
    assert await source.fill(20_000)
    ticker.cancel()
    await source.aclose()

    assert turns > 3


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
        assert source.total == 3


async def test_a_total_that_is_passed_is_unknown_until_the_end():
    """Progress would be complete again and again."""

    class Liar(list):
        def __len__(self):
            return 3

    source = open_source(Liar(range(10)))
    await source.open()
    totals = []
    while await source.fill(2):
        source.take(2)
        totals.append(source.total)

    assert totals[:4] == [3, None, None, None]
    assert (source.taken, source.total) == (10, 10)


async def test_an_iterator_that_begins_anew_when_asked_again_is_asked_once():
    """The textbook's iterator resets itself in `__iter__`."""

    class Count:
        def __iter__(self):
            self.n = 0
            return self

        def __next__(self):
            self.n += 1
            if self.n > 50:
                raise StopIteration
            return self.n

    assert await taken(open_source(Count())) == list(range(1, 51))


async def test_iterators_that_are_not_iterable_themselves_work():
    """As they do in a `for` statement."""

    class Numbers:
        def __iter__(self):
            return Bare()

        def __aiter__(self):
            return Bare()

    class Bare:
        n = 0

        def __next__(self):
            self.n += 1
            if self.n > 3:
                raise StopIteration
            return self.n

        async def __anext__(self):
            try:
                return self.__next__()
            except StopIteration:
                raise StopAsyncIteration from None

    assert await taken(open_source(Numbers())) == [1, 2, 3]
    assert await taken(ThreadSource(Numbers())) == [1, 2, 3]


async def test_an_async_iterable_that_raises_cancelled_is_not_taken_for_the_end():
    """It awaited a task that somebody else cancelled: nobody cancelled this one."""

    async def unlucky():
        yield 1
        raise asyncio.CancelledError

    source = open_source(unlucky())
    assert await taken(source) == [1]
    assert type(source.error.__cause__) is asyncio.CancelledError


async def test_a_reading_task_that_is_cancelled_before_it_begins_is_waited_for_by_nobody():
    """It would have read nothing and said nothing, and the run would wait for its first item for ever."""
    source = await opened(numbers(3))
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    async with asyncio.timeout(10):
        assert not await source.fill(1)

    assert type(source.error.__cause__) is asyncio.CancelledError
    await source.aclose()


async def test_an_async_iterable_that_does_not_end_is_left_behind(caplog):
    """Closing is bounded, and the log says what was left."""
    release = asyncio.Event()

    async def stubborn():
        yield 1
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    source = await opened(stubborn())
    await source.fill(2)
    began = time.perf_counter()
    await source.aclose()
    assert time.perf_counter() - began < 5.0
    assert "did not end within" in caplog.text
    release.set()
    await asyncio.wait([source._task])


async def test_an_input_that_cannot_even_begin_is_an_input_error():
    """`__iter__` may raise, or block: both are the reader's."""

    class Broken:
        def __iter__(self):
            raise ValueError("no")

    source = open_source(Broken())
    assert await taken(source) == []
    assert type(source.error.__cause__) is ValueError


async def test_a_range_beyond_what_len_can_say_is_sliced_all_the_same():
    """Its total is just not known."""
    source = await opened(range(10**20))

    assert source.total is None
    assert await source.fill(2)
    assert source.take(2) == range(2)
