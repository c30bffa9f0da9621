"""What goes wrong: each error is the right one, comes at the right time, and leaves the executor usable."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

import jobs
from amorsize_async import AsyncExecutor, HookManager, execute_async, stream_async
from amorsize_async.errors import (
    ExecutorClosedError,
    InputError,
    RemoteError,
    RemoteTraceback,
    UnpicklableError,
    WorkerCrashedError,
    WorkerStartError,
)


async def test_the_callers_exception_comes_as_itself(each_executor):
    """Not in a group, with the worker's traceback as its cause and the index in a note."""
    with pytest.raises(ZeroDivisionError) as caught:
        await each_executor.execute(jobs.divide, [1, 2, 0, 4])

    assert caught.value.__notes__ == ["amorsize_async: raised for item 2"]
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in divide" in str(caught.value.__cause__)
    assert await each_executor.execute(jobs.square, [3]) == [9]


async def test_exceptions_can_be_had_as_results(executor):
    """As in `asyncio.gather`; every item runs."""
    results, report = await executor.execute(jobs.divide, [1, 0, 2] * 50, return_exceptions=True, return_report=True)

    assert [type(result) for result in results] == [float, ZeroDivisionError, float] * 50
    assert (report.items, report.failed, report.status) == (150, 50, "ok")
    assert report.failures[0][0] == 1


async def test_coroutine_functions_fail_like_plain_ones(executor):
    """Alone, by index."""
    with pytest.raises(ZeroDivisionError, match="division") as caught:
        await executor.execute(jobs.fail_soon, [1, 1, 0])

    assert "item 2" in caught.value.__notes__[0]


@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "StopIteration"])
async def test_exceptions_that_end_programs_do_not_reach_the_caller_bare(executor, name):
    """They come as RemoteError, and the worker lives."""
    workers = executor.statistics().workers
    with pytest.raises(RemoteError, match=name):
        await executor.execute(jobs.exit_on, [("raise", name)])

    assert executor.statistics().workers == workers


class Quitter:
    """A function that quits the program when it is pickled."""

    def __call__(self, item):
        return item

    def __reduce__(self):
        raise SystemExit(3)


LOCK = threading.Lock()
SHARED = multiprocessing.Lock()  # one that only multiprocessing can send, and only as an argument
BAD_CALLS = {
    "fn": (lambda: execute_async(3, [1]), TypeError, "fn is a int, not a callable"),
    "data": (lambda: execute_async(jobs.square, 3), TypeError, "data is a int, not iterable"),
    "n_jobs": (lambda: execute_async(jobs.square, [1], n_jobs=0), ValueError, "n_jobs=0 is too small"),
    "n_jobs kind": (lambda: execute_async(jobs.square, [1], n_jobs=1.5), TypeError, "n_jobs is a float"),
    "chunksize": (lambda: execute_async(jobs.square, [1], chunksize=-1), ValueError, "chunksize=-1 is too small"),
    "hooks": (
        lambda: execute_async(jobs.square, [1], hooks=[print]),
        TypeError,
        "hooks contains a builtin_function_or_method; make a manager",
    ),
    "executor": (lambda: execute_async(jobs.square, [1], executor="proces"), TypeError, "executor is 'proces'"),
    "option": (lambda: execute_async(jobs.square, [1], chunk_size=2), TypeError, "unexpected keyword.*chunk_size"),
    "unpicklable": (
        lambda: execute_async(LOCK.acquire, [1]),
        UnpicklableError,
        "fn.__self__ is a _thread.lock",
    ),
    "quits": (lambda: execute_async(Quitter(), [1]), UnpicklableError, r"Quitter \(SystemExit\)"),
}


@pytest.mark.parametrize("case", BAD_CALLS)
async def test_a_bad_call_is_refused_before_any_worker_starts(case):
    """With the fact, the value and the way out."""
    call, kind, message = BAD_CALLS[case]
    with pytest.raises(kind, match=message):
        await call()


async def test_a_plain_function_that_returns_a_coroutine_is_told_to_be_async(executor):
    """A lambda around a coroutine function, or a decorator that hides it."""
    with pytest.raises(
        UnpicklableError, match="fn is no coroutine function, but returned a coroutine: make it `async def`"
    ):
        await executor.execute(lambda item: jobs.square_soon(item), [1])  # noqa: PLW0108 - that is the point


async def test_an_initializer_that_ends_the_program_is_named(executor):
    """By what it raised, not by what stands for that."""
    with pytest.raises(WorkerStartError, match="the initializer of a worker raised SystemExit;"):
        async with AsyncExecutor(1, initializer=sys.exit):
            pass


async def test_a_bad_stream_is_refused_at_once():
    """Where it is made, not where it is used."""
    with pytest.raises(ValueError, match="buffersize=0 is too small"):
        stream_async(jobs.square, [1], buffersize=0)
    with pytest.raises(TypeError, match="data is a NoneType"):
        stream_async(jobs.square, None)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"n_jobs": 0}, ValueError, "n_jobs=0"),
        ({"start_method": "frok"}, ValueError, "start_method='frok' is not known here; pass one of"),
        ({"cancel_grace": -1}, ValueError, "cancel_grace=-1 is too small; pass at least 0$"),
        ({"cancel_grace": None}, TypeError, "cancel_grace is a NoneType; pass a number of at least 0$"),
        ({"max_item_deaths": None}, TypeError, "max_item_deaths is a NoneType; pass a whole number of at least 1$"),
        ({"start_timeout": None}, TypeError, "start_timeout is a NoneType"),
        ({"start_timeout": 0}, ValueError, "start_timeout=0 is too small"),
        ({"initargs": 3}, TypeError, "initargs is a int; pass a tuple"),
        ({"hooks": print}, TypeError, r"hooks is a builtin_function_or_method; make a manager.*register\("),
        ({"hooks": HookManager}, TypeError, "hooks is the class HookManager; make a manager"),
        ({"hooks": [print]}, TypeError, "hooks contains a builtin_function_or_method"),
        ({"initializer": 3}, TypeError, "initializer is a int"),
        ({"initializer": jobs.square_soon}, TypeError, "initializer is a coroutine function"),
        ({"initializer": print, "initargs": [threading.Lock()]}, UnpicklableError, "the initializer cannot be pickled"),
        ({"initializer": partial(print, SHARED)}, UnpicklableError, "the initializer cannot be pickled"),
    ],
    ids=str,
)
def test_a_bad_executor_is_refused_at_once(options, kind, message):
    """Before anything starts."""
    with pytest.raises(kind, match=message):
        AsyncExecutor(**options)


async def test_calls_that_wait_for_the_same_start_have_an_error_each():
    """What one of them notes on it, or raises it from, is not the others'."""
    executor = AsyncExecutor(1, initializer=jobs.divide, initargs=(0,))
    await executor._open()  # as the shared executor is: workers start as they are needed
    calls = [executor.execute(jobs.square, [1]) for _ in range(3)]
    errors = await asyncio.gather(*calls, return_exceptions=True)
    await executor.aclose()

    assert {type(error) for error in errors} == {WorkerStartError}
    assert len(set(map(id, errors))) == 3
    assert {type(error.__cause__) for error in errors} == {ZeroDivisionError}


@pytest.mark.parametrize("when", ["there", "home"])
def test_an_interrupt_while_a_payload_is_moved_is_raised(when):
    """It is no item's failure: on a loop that leaves Ctrl-C to Python it would be lost."""
    fn, item = (jobs.identity, jobs.InterruptsHere()) if when == "there" else (jobs.interrupting, os.getpid())
    loop = asyncio.new_event_loop()
    executor = AsyncExecutor(1)
    try:
        loop.run_until_complete(executor.start())
        call = loop.create_task(executor.execute(fn, [item] * 20, return_exceptions=True))
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(call)
        while not call.done():  # asyncio raises it once more for each task that it passes
            with suppress(KeyboardInterrupt):
                loop.run_until_complete(asyncio.wait([call]))
        assert isinstance(call.exception(), KeyboardInterrupt)
    finally:
        loop.run_until_complete(executor.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@pytest.fixture
def lines():
    """An open file."""
    with Path(__file__).open(encoding="utf-8") as file:
        yield file


async def test_an_open_file_does_not_travel(executor, lines):
    """Its text would, by cloudpickle, as an io.StringIO."""
    with pytest.raises(UnpicklableError, match=r"fn\.lines is a _io\.TextIOWrapper .* instead of capturing it"):
        await executor.execute(lambda _: next(lines), [1])
    with pytest.raises(UnpicklableError, match=r"item 0 cannot be pickled: item is a _io\.TextIOWrapper"):
        await executor.execute(jobs.identity, [lines])


async def test_an_unpicklable_item_fails_alone(executor):
    """The error names the item and the attribute."""
    items = [1, {"lock": threading.Lock()}, 3]
    results = await executor.execute(jobs.identity, items, return_exceptions=True)

    assert (results[0], results[2]) == (1, 3)
    assert isinstance(results[1], UnpicklableError)
    assert "item 1 cannot be pickled" in str(results[1])


class RaisesWhenPickled:
    """Raises whatever it is given."""

    def __init__(self, kind):
        self.kind = kind

    def __reduce__(self):
        raise self.kind


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, SystemExit])
async def test_what_pickling_raises_is_the_items_failure_whatever_it_is(executor, kind):
    """In chunks that are pickled whole, and slice by slice; a cancellation that nobody asked for cancels nothing."""
    items = [RaisesWhenPickled(kind) if n % 3 == 0 else n for n in range(600)]
    for chunksize in (None, 20):
        results = await executor.execute(jobs.identity, items, chunksize=chunksize, return_exceptions=True)

        assert [n for n, result in enumerate(results) if isinstance(result, UnpicklableError)] == list(range(0, 600, 3))
        assert len(results) == 600


async def test_an_item_that_cannot_be_unpickled_fails_alone(each_executor):
    """In the worker; its chunk-mates run once."""
    results = await each_executor.execute(jobs.identity, [1, jobs.Bomb(), 3], chunksize=3, return_exceptions=True)

    assert (results[0], results[2]) == (1, 3)
    assert "item 1 cannot be unpickled in the worker: RuntimeError;" in str(results[1])
    assert "RuntimeError: boom" in str(results[1].__cause__)  # the worker's traceback


@pytest.mark.parametrize("fn", [jobs.make_bomb, jobs.make_lock], ids=["unpickling", "pickling"])
async def test_a_result_that_cannot_travel_fails_alone(each_executor, fn):
    """On either side of the border."""
    results = await each_executor.execute(fn, range(6), chunksize=6, return_exceptions=True)

    assert [type(result) for result in results] == [int, int, int, UnpicklableError, int, int]
    assert "result" in str(results[3])


async def test_an_input_that_raises_ends_the_call_with_input_error(executor):
    """With its exception as the cause, and how far it got."""

    def broken():
        yield from range(5)
        raise OSError("disk gone")

    with pytest.raises(InputError, match="raised OSError after 5 items") as caught:
        await executor.execute(jobs.square, broken())

    assert (caught.value.index, type(caught.value.__cause__)) == (5, OSError)


async def test_an_async_input_that_raises_ends_the_call_with_input_error(executor):
    """The same for an async generator, which is closed."""
    closed = []

    async def broken():
        try:
            yield 1
            raise OSError("peer gone")
        finally:
            closed.append(True)

    with pytest.raises(InputError, match="raised OSError after 1 items"):
        await executor.execute(jobs.square, broken())

    assert closed == [True]


@pytest.mark.parametrize("chunksize", [None, 1, 7, 20])
@pytest.mark.parametrize(
    "poison", [("exit", 3), ("exit", 0), ("kill", signal.SIGKILL), ("kill", signal.SIGSEGV)], ids=str
)
async def test_an_item_that_kills_its_worker_fails_alone_by_name(executor, poison, chunksize):
    """The others are delivered, the pool lives, the error says how the worker died."""
    items = [("ok", n) for n in range(20)]
    items[7] = poison

    results = await executor.execute(jobs.exit_on, items, chunksize=chunksize, return_exceptions=True)

    assert [result for result in results if isinstance(result, int)] == [n for n in range(20) if n != 7]
    assert isinstance(results[7], WorkerCrashedError)
    assert results[7].index == 7
    assert results[7].exitcode == (poison[1] if poison[0] == "exit" else -poison[1])
    assert await executor.execute(jobs.square, [3]) == [9]


async def test_a_crash_ends_the_call_by_default(each_executor):
    """It is the first failure; which of two that die at the same time comes first is left open."""
    with pytest.raises(WorkerCrashedError, match=r"died with exit code 17 while it ran item [01]"):
        await each_executor.execute(jobs.die, [1, 2], n_jobs=1)


async def test_a_tiny_item_that_kills_its_worker_is_still_found(executor):
    """Where items run in strides, the suspects are run again one by one."""
    assert await executor.execute(jobs.exit_on, [("ok", n) for n in range(20_000)])
    items = [("ok", n) for n in range(20_000)]
    items[12_345] = ("exit", 3)

    results = await executor.execute(jobs.exit_on, items, return_exceptions=True)

    assert [index for index, result in enumerate(results) if result != index] == [12_345]
    assert results[12_345].index == 12_345


async def test_a_coroutine_that_kills_its_worker_is_still_found(each_executor):
    """All items of the chunk are suspects, and run again one by one."""

    async def step(item):
        if item == 5:
            os._exit(9)
        return item

    results = await each_executor.execute(step, range(12), return_exceptions=True)

    assert [index for index, result in enumerate(results) if result != index] == [5]


async def test_an_idle_worker_that_died_costs_nothing(each_executor):
    """The next call finds another."""
    for pid in each_executor.statistics().workers:
        os.kill(pid, signal.SIGKILL)

    assert await each_executor.execute(jobs.square, range(100)) == [n * n for n in range(100)]
    assert each_executor.statistics().lost >= 1


async def test_an_initializer_that_raises_is_the_cause(start_method):
    """Of the WorkerStartError that the caller sees, at the start of the executor."""
    with pytest.raises(WorkerStartError, match="initializer of a worker raised ConnectionError") as caught:
        async with AsyncExecutor(2, start_method=start_method, initializer=jobs.refuse):
            pass

    assert isinstance(caught.value.__cause__, ConnectionError)
    assert "in refuse" in str(caught.value.__cause__.__cause__)


async def test_a_start_that_takes_too_long_is_given_up(start_method):
    """The hanging worker is killed."""
    with pytest.raises(WorkerStartError, match=r"did not start within 0\.3 s"):
        async with AsyncExecutor(1, start_method=start_method, initializer=jobs.nap, initargs=(60,), start_timeout=0.3):
            pass


async def test_a_closed_or_unopened_executor_refuses_calls():
    """With the way out."""
    executor = AsyncExecutor(1)
    with pytest.raises(ExecutorClosedError, match="was not started"):
        await executor.execute(jobs.square, [1])
    async with executor:
        pass
    with pytest.raises(ExecutorClosedError, match="is closed"):
        await executor.execute(jobs.square, [1])
