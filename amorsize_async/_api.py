"""The three functions that most people use: `execute_async`, `stream_async`, and `execute` for code without a loop."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar, Unpack, overload

from . import _without_loop
from ._call import Call, shows_options
from ._costs import CostMemory
from ._engine import About, Engine, about_call, collect, configured_managers, open_stream, told_if_cancelled
from ._options import (
    AnyOptions,
    AsyncFunction,
    Data,
    Function,
    ListOptions,
    ReportOptions,
    StreamOptions,
    TolerantListOptions,
    TolerantReportOptions,
)
from ._setup import cpus_here
from ._stream import ResultStream
from .backends import ForeignPool, open_threads, width_of
from .executor import AsyncExecutor, shared_executor
from .report import Report

__all__ = ("execute", "execute_async", "stream_async")

R = TypeVar("R")
T = TypeVar("T")
AnyExecutor = AsyncExecutor | concurrent.futures.Executor | Literal["thread"] | None


@overload
async def execute_async(
    fn: AsyncFunction[T, R], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[ListOptions]
) -> list[R]: ...
@overload
async def execute_async(
    fn: Function[T, R], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[ListOptions]
) -> list[R]: ...
@overload
async def execute_async(
    fn: AsyncFunction[T, R], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[ReportOptions]
) -> tuple[list[R], Report]: ...
@overload
async def execute_async(
    fn: Function[T, R], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[ReportOptions]
) -> tuple[list[R], Report]: ...
@overload
async def execute_async(
    fn: Function[T, Any], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[TolerantListOptions]
) -> list[Any]: ...
@overload
async def execute_async(
    fn: Function[T, Any], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[TolerantReportOptions]
) -> tuple[list[Any], Report]: ...
@shows_options
async def execute_async(
    fn: Callable[..., Any],
    data: Data[Any],
    /,
    *,
    executor: AnyExecutor = None,
    return_report: bool = False,
    **options: Unpack[AnyOptions],
) -> list[Any] | tuple[list[Any], Report]:
    """Run `fn` over `data` in worker processes, beside the event loop: `[fn(item) for item in data]`, awaited.

    Args:
        fn: takes one item; plain, or `async def` (then each worker runs many items at once on a loop of its own). It
            travels by reference if it can be imported, else by value: lambdas, closures and `__main__` work. For
            several arguments: `functools.partial`, or items that are tuples which it takes apart.
        data: a built-in sequence (sliced, never copied whole), any other iterable (pulled in a helper thread, a few
            chunks ahead; it should yield a new object each time, since items are pickled later), or an async iterable.
            It sees the context variables of the call. Each item runs exactly once, unless a worker dies.
        hooks: a `HookManager`, or several, that are told what happens.
        n_jobs: the most workers to use at once; None: as many as the executor was made with, and where that is not to
            be known (the shared one, a cluster's), as many as there are CPUs here.
        chunksize: items per chunk; None: decided for each chunk from what those before it cost.
        executor: where it runs. None: the loop's shared `AsyncExecutor`, opened on first use and closed with the loop;
            an `AsyncExecutor`; any `concurrent.futures.Executor`; or "thread", for functions that release the GIL: our
            own threads, which see the context variables of the call.
        retry: attempts as a number, or a `RetryPolicy`; failed items are sent again after a wait in which they hold no
            worker. Crashes and what cannot be pickled are not tried again. None: one attempt.
        item_timeout: seconds one item may run; past it its worker is killed (of a coroutine function: the item is
            cancelled) and only that item fails. Time in queues does not count. None: any time.
        return_exceptions: put the exception of a failed item at its place, as `asyncio.gather` does; by default the
            first failure ends the call.
        return_report: return `(results, report)`.

    Returns:
        The results in input order.

    Raises:
        The first exception that `fn` raises, as itself, with the worker's traceback as its cause and the item's index
        in a note; RemoteError in place of one that cannot travel, or would end the program; WorkerCrashedError if a
        worker died of an item; ItemTimeoutError; InputError if `data` raised; UnpicklableError if the function, an item
        or a result cannot travel; WorkerStartError; ExecutorClosedError, and ExecutorSaturatedError where there is a
        `max_pending`; TypeError and ValueError for bad arguments, before any worker starts. A time limit for all of it
        is `asyncio.timeout()`: cancelling the call stops its work.
    """
    return await _executed(Call.checked(fn, data, **options), _checked_executor(executor), return_report=return_report)


@overload
def stream_async(
    fn: AsyncFunction[T, R], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[StreamOptions]
) -> ResultStream[R]: ...
@overload
def stream_async(
    fn: Function[T, R], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[StreamOptions]
) -> ResultStream[R]: ...
@shows_options
def stream_async(
    fn: Callable[..., Any],
    data: Data[Any],
    /,
    *,
    executor: AnyExecutor = None,
    ordered: bool = True,
    buffersize: int | None = None,
    **options: Unpack[AnyOptions],
) -> ResultStream[Any]:
    """Run `fn` over `data` and give each result while the rest is still running.

    Best as `async with stream_async(fn, data) as results: async for value in results: ...`.

    Args:
        ordered: results in input order; False: as they complete (`.enumerate()` tells which is which).
        buffersize: the most results dispatched and not yet consumed; None: a window of 16 chunks per worker. However
            long `data` is, no more than that is read ahead, and one chunk; without `buffersize` one for each worker.
        fn, data, hooks, n_jobs, chunksize, executor, retry, item_timeout, return_exceptions: as for `execute_async`.

    Returns:
        A `ResultStream`; nothing runs before it is used. A failure is raised where the failed item's result would
        have come; in an ordered stream all results before it come first.
    """
    call = Call.checked(fn, data, **options)
    where = _checked_executor(executor)
    return open_stream(lambda: _engine(where, call), call, ordered=ordered, buffersize=buffersize)


@overload
def execute(
    fn: AsyncFunction[T, R], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[ListOptions]
) -> list[R]: ...
@overload
def execute(
    fn: Function[T, R], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[ListOptions]
) -> list[R]: ...
@overload
def execute(
    fn: AsyncFunction[T, R], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[ReportOptions]
) -> tuple[list[R], Report]: ...
@overload
def execute(
    fn: Function[T, R], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[ReportOptions]
) -> tuple[list[R], Report]: ...
@overload
def execute(
    fn: Function[T, Any], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[TolerantListOptions]
) -> list[Any]: ...
@overload
def execute(
    fn: Function[T, Any], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[TolerantReportOptions]
) -> tuple[list[Any], Report]: ...
@shows_options
def execute(
    fn: Callable[..., Any],
    data: Data[Any],
    /,
    *,
    executor: AnyExecutor = None,
    return_report: bool = False,
    **options: Unpack[AnyOptions],
) -> list[Any] | tuple[list[Any], Report]:
    """`execute_async` for code without an event loop: blocks until the results are there.

    Arguments, results and errors are those of `execute_async`. Inside a running loop's thread (a notebook cell) it runs
    on a loop in another thread meanwhile, and blocks the running one. An `AsyncExecutor` is used on its own loop, which
    must be running in another thread.
    """
    call, where = Call.checked(fn, data, **options), _checked_executor(executor)
    run = partial(_executed, call, where, return_report=return_report)
    if isinstance(where, AsyncExecutor):
        return _without_loop.on_running(where.loop, run)
    return _without_loop.anywhere(run)


# ── where a call runs ────────────────────────────────────────────────────────────────────────────────────────────────


async def _executed(call: Call, executor: AnyExecutor, *, return_report: bool) -> list[Any] | tuple[list[Any], Report]:
    values, report = await collect(await _engine(executor, call), call)
    return (values, report) if return_report else values


def _checked_executor(executor: AnyExecutor) -> AnyExecutor:
    if executor is None or executor == "thread" or isinstance(executor, AsyncExecutor | concurrent.futures.Executor):
        return executor
    given = repr(executor) if isinstance(executor, str) else f"a {type(executor).__name__}"
    raise TypeError(
        f"executor is {given}; pass None, 'thread', an AsyncExecutor or a concurrent.futures.Executor "
        "(of a cluster's client, what its get_executor() gives)"
    )


async def _engine(executor: AnyExecutor, call: Call) -> Engine:
    if isinstance(executor, AsyncExecutor):
        return executor.engine()
    if executor is None:
        shared = await told_if_cancelled(
            shared_executor(call.n_jobs),
            call,
            lambda: About(executor="process", n_jobs=call.n_jobs or cpus_here(), managers=call.managers),
        )
        return shared.engine()
    engine = (
        _foreign(executor, call.n_jobs) if isinstance(executor, concurrent.futures.Executor) else _threads(call.n_jobs)
    )
    managers = await told_if_cancelled(configured_managers(), call, lambda: about_call(engine, call))
    return replace(engine, managers=managers)


def _foreign(executor: concurrent.futures.Executor, n_jobs: int | None) -> Engine:
    return Engine(ForeignPool(executor, n_jobs or width_of(executor) or cpus_here()), CostMemory())


def _threads(n_jobs: int | None) -> Engine:
    pool = open_threads(n_jobs or cpus_here())
    return Engine(pool, CostMemory(), close=pool.aclose)
