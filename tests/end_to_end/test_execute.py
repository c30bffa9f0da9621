"""The list form on real processes: right results, each item once, never here, whatever the input is."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import weakref
from collections import Counter, deque
from contextvars import ContextVar
from functools import partial

import pytest

import jobs
from amorsize_async import AsyncExecutor, HookEvent, HookManager, execute_async
from amorsize_async._books import Books
from amorsize_async._system import usable_cpus
from amorsize_async.errors import AmorsizeError


async def arriving(items):
    """The items, one a turn of the loop."""
    for item in items:
        await asyncio.sleep(0)
        yield item


INPUTS = {
    "list": list,
    "tuple": tuple,
    "range": lambda items: items,
    "deque": deque,
    "set": set,
    "dict": dict.fromkeys,
    "generator": lambda items: (item for item in items),
    "async generator": arriving,
    "map": partial(map, int),
}


@pytest.mark.parametrize("kind", INPUTS)
async def test_results_equal_a_plain_loop_for_every_kind_of_input(executor, kind):
    """`[fn(x) for x in data]`, awaited."""
    assert await executor.execute(jobs.square, INPUTS[kind](range(500))) == [n * n for n in range(500)]


class Lazy:
    """Makes its items when it is asked for them."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return [self.make(index) for index in range(3)][index]


LAZY_INPUTS = {
    "sequence": Lazy,
    "map": lambda make: map(make, range(3)),
    "generator": lambda make: (make(n) for n in range(3)),
    "async generator": lambda make: (make(n) async for n in arriving(range(3))),
}


@pytest.mark.parametrize("kind", LAZY_INPUTS)
async def test_input_sees_the_context_variables_of_the_call(executor, kind):
    """Whoever pulls it: the loop or a thread, for a list or a stream."""
    request = ContextVar("request", default=None)
    request.set("this one")

    assert await executor.execute(jobs.identity, LAZY_INPUTS[kind](lambda _: request.get())) == ["this one"] * 3
    stream = executor.stream(jobs.identity, LAZY_INPUTS[kind](lambda _: request.get()))
    request.set("another one")
    assert [value async for value in stream] == ["this one"] * 3


async def test_threads_see_the_context_variables_of_the_call():
    """As with `asyncio.to_thread`."""
    request = ContextVar("request", default=None)
    request.set("this one")

    assert await execute_async(lambda _: request.get(), range(50), executor="thread") == ["this one"] * 50


@pytest.mark.parametrize("items", [[], [3], [3, 4]], ids=["none", "one", "two"])
async def test_small_inputs_work(each_executor, items):
    """Nothing, one item, fewer items than workers."""
    assert await each_executor.execute(jobs.square, items) == [item * item for item in items]
    assert await each_executor.execute(jobs.square, iter(items)) == [item * item for item in items]


async def test_strings_and_bytes_are_sequences_of_their_items(executor):
    """As in a plain loop."""
    assert await executor.execute(jobs.identity, "héllo") == list("héllo")
    assert await executor.execute(jobs.identity, b"abc") == [97, 98, 99]


async def test_a_million_items_come_back_in_order():
    """Trivial work, sized by itself."""
    assert await execute_async(jobs.square, range(1_000_000)) == [n * n for n in range(1_000_000)]


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("form", [list, iter, arriving], ids=["list", "iterator", "async"])
async def test_every_item_runs_exactly_once_and_never_here(executor, tmp_path, n_jobs, form):
    """A file that every call writes to counts the calls and names who made them."""
    path = tmp_path / "calls"
    items = [(str(path), n) for n in range(300)]

    await executor.execute(jobs.tally, form(items), n_jobs=n_jobs)

    calls = [line.split() for line in path.read_text().splitlines()]
    assert Counter(int(item) for _, item in calls) == Counter(range(300))
    assert str(os.getpid()) not in {pid for pid, _ in calls}


async def test_a_call_uses_no_more_workers_than_its_n_jobs(executor):
    """n_jobs of a call is the most it uses at once, here one worker of two."""
    assert len(set(await executor.execute(jobs.spin, [0.002] * 60, n_jobs=1))) == 1
    assert len(set(await executor.execute(jobs.spin, [0.002] * 60))) == 2


async def test_the_shared_executor_grows_to_what_is_asked_for():
    """A call without an executor gets the workers that it asks for, also more than there are CPUs."""
    pids = await execute_async(jobs.spin, [0.01] * 60, n_jobs=usable_cpus() + 2)
    _, report = await execute_async(jobs.spin, [0.01] * 60, return_report=True)

    assert len(set(pids)) == usable_cpus() + 2
    assert report.n_jobs == usable_cpus()  # who asks for none has no more than before


async def test_lambdas_and_closures_work(each_executor):
    """They travel by value."""
    offset = 10

    assert await each_executor.execute(lambda x: x + offset, [1, 2]) == [11, 12]


async def test_bound_methods_and_partials_work(each_executor):
    """Whatever can be called."""
    assert await each_executor.execute("{}-{}".format, "ab", n_jobs=1, return_exceptions=True)
    assert await each_executor.execute(partial(pow, 2), [1, 2, 3]) == [2, 4, 8]
    assert await each_executor.execute(",".join, [["a", "b"], ["c"]]) == ["a,b", "c"]


async def test_coroutine_functions_run_many_at_once(each_executor):
    """A hundred naps of 50 ms in two workers take far less than one after the other would."""
    began = time.perf_counter()
    naps = await each_executor.execute(jobs.nap_soon, [0.05] * 100)

    assert naps == [0.05] * 100
    assert time.perf_counter() - began < 0.05 * 100 / 5


async def test_the_report_adds_up(executor):
    """Items, chunks, work and bytes are those that the events told."""
    hooks, chunks = HookManager(), []
    hooks.register(HookEvent.ON_CHUNK_COMPLETE, chunks.append, mode="inline")

    values, report = await executor.execute(jobs.spin, [0.001] * 200, hooks=hooks, return_report=True)

    assert report.items == len(values) == sum(ctx.chunk_size for ctx in chunks) == 200
    assert report.chunks == len(chunks)
    assert report.work_seconds == pytest.approx(sum(ctx.chunk_time for ctx in chunks))
    assert 0.2 <= report.work_seconds <= 2 * report.elapsed * 1.05
    assert report.bytes_in == sum(ctx.metadata["bytes_in"] for ctx in chunks) > 0
    assert report.workers == Counter(values)
    assert report.efficiency == pytest.approx(report.work_seconds / report.elapsed / 2)


async def test_a_single_call_can_be_submitted(executor):
    """With positional and keyword arguments, plain or `async def`."""
    assert await executor.submit(pow, 2, 5, mod=7) == 4
    assert await executor.submit(jobs.square_soon, number=3) == 9
    with pytest.raises(ZeroDivisionError):
        await executor.submit(divmod, 1, 0)


async def test_a_call_that_becomes_heavy_is_spread_again(executor):
    """A chunk sized for the light items before it sends its heavy rest back, so that both workers share it."""
    items = [0.0001] * 2000 + [0.05] * 24
    hooks, seconds = HookManager(), []
    hooks.register(HookEvent.ON_CHUNK_COMPLETE, lambda context: seconds.append(context.metadata["cpu_time"]))
    pids = await executor.execute(jobs.spin, items, hooks=hooks)
    heavy = Counter(pids[-24:])

    assert len(heavy) == 2
    assert min(heavy.values()) >= 6  # half of what is fair: others may use the processors, too
    assert sum(each > 0.14 for each in seconds) <= 5  # the rest is cut anew, and not sent whole until it is used up


async def test_results_may_be_large(each_executor):
    """Megabytes in and out."""
    items = [bytes([n]) * 3_000_000 for n in range(6)]

    assert await each_executor.execute(jobs.identity, items) == items


async def test_a_class_of_main_comes_back_as_itself(each_executor):
    """What travels by value is the same class again at home, so that `isinstance` and `except` work."""
    code = "class Point:\n    def __init__(self, x): self.x = x\nclass Wrong(Exception): pass\n"
    space = {"__name__": "__main__"}
    exec(code, space)
    point, wrong = space["Point"], space["Wrong"]

    def move(item):
        if item.x == 2:
            raise wrong
        return point(item.x + 1)

    moved = await each_executor.execute(move, [point(1), point(2)], return_exceptions=True)

    assert (type(moved[0]), moved[0].x, type(moved[1])) == (point, 2, wrong)


async def test_a_second_call_on_a_warm_executor_starts_at_once(executor):
    """A few milliseconds: less than a tenth of what starting the workers took."""
    await executor.execute(jobs.square, [1])
    times = []
    for _ in range(9):
        began = time.perf_counter()
        await executor.execute(jobs.square, [1])
        times.append(time.perf_counter() - began)
    began = time.perf_counter()
    async with AsyncExecutor(2, start_method="spawn"):
        start = time.perf_counter() - began

    assert sorted(times)[4] < start / 10


async def test_a_worker_imports_no_event_loop_unless_the_function_does(each_executor):
    """A light worker: neither asyncio nor anyio, although this process has both."""
    names = ["asyncio", "anyio", "psutil", "uvloop", "amorsize_async._run"]

    assert await each_executor.execute(jobs.loaded_modules, [names]) == [[]]


async def test_initializers_and_thread_limits_reach_each_worker(start_method):
    """Before the first item; an initializer may be a lambda's closure."""
    async with AsyncExecutor(2, start_method=start_method, initializer=jobs.leave_mark, initargs=("m",)) as executor:
        assert await executor.execute(jobs.read_mark, range(4)) == [["m"]] * 4
        assert await executor.execute(jobs.environment, ["OMP_NUM_THREADS"]) == ["1"]


async def test_calls_share_one_executor_concurrently(executor):
    """Fifty calls at once, each right."""
    calls = [executor.execute(jobs.square, range(n, n + 40)) for n in range(50)]

    assert await asyncio.gather(*calls) == [[i * i for i in range(n, n + 40)] for n in range(50)]


async def test_a_call_that_has_ended_holds_nothing_of_its_function(executor):
    """It goes with its last user, and not when the garbage collector comes by."""
    table = jobs.Table()
    gone = weakref.ref(table)
    gc.disable()
    try:
        assert await executor.execute(table.at, range(3)) == [0, 1, 2]
        del table
        for _ in range(10):  # tasks that are done go at the next turns of the loop
            await asyncio.sleep(0)

        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("form", ["list", "ordered", "unordered"])
async def test_results_that_are_lost_on_the_way_are_told_of(executor, monkeypatch, form):
    """By a fault of ours, of whatever kind: never a list that is too short, or a stream that ends too early."""
    deliver, lost = Books.deliver, []

    def careless(books, batch, *rest):
        if batch.start != 60 or lost:
            deliver(books, batch, *rest)
        else:
            lost.append(batch)

    async def streamed():
        return [n async for n in executor.stream(jobs.square, range(100), chunksize=20, ordered=form == "ordered")]

    monkeypatch.setattr(Books, "deliver", careless)
    with pytest.raises(AmorsizeError, match="of 100 items"):
        await (executor.execute(jobs.square, range(100), chunksize=20) if form == "list" else streamed())
