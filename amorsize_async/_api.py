"""The three functions that most people use: `execute_async`, `stream_async`, and `execute` for code without a loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from contextvars import copy_context
from typing import Any, Literal, TypeVar, Unpack, overload

from ._call import Call, CallOptions, Engine, Hooks, StreamOptions, collect, configured_managers, open_stream
from ._chunking import CostMemory
from ._results import ResultStream
from ._system import usable_cpus
from .backends import ForeignPool, open_threads
from .errors import ExecutorClosedError
from .executor import AsyncExecutor, shared_executor
from .policies import RetryPolicy
from .report import Report

__all__ = ("execute", "execute_async", "stream_async")

R = TypeVar("R")
T = TypeVar("T")
AnyExecutor = AsyncExecutor | concurrent.futures.Executor | Literal["thread"] | None
Data = Iterable[T] | AsyncIterable[T]


class AnywhereOptions(CallOptions, total=False):
    """The options of a call that is not made on an executor."""

    executor: AnyExecutor


@overload
async def execute_async(
    fn: Callable[[T], Coroutine[Any, Any, R]],
    data: Data[T],
    /,
    *,
    return_exceptions: Literal[False] = ...,
    return_report: Literal[False] = ...,
    **options: Unpack[AnywhereOptions],
) -> list[R]: ...
@overload
async def execute_async(
    fn: Callable[[T], R],
    data: Data[T],
    /,
    *,
    return_exceptions: Literal[False] = ...,
    return_report: Literal[False] = ...,
    **options: Unpack[AnywhereOptions],
) -> list[R]: ...
@overload
async def execute_async(
    fn: Callable[[T], Coroutine[Any, Any, R]],
    data: Data[T],
    /,
    *,
    return_exceptions: Literal[False] = ...,
    return_report: Literal[True],
    **options: Unpack[AnywhereOptions],
) -> tuple[list[R], Report]: ...
@overload
async def execute_async(
    fn: Callable[[T], R],
    data: Data[T],
    /,
    *,
    return_exceptions: Literal[False] = ...,
    return_report: Literal[True],
    **options: Unpack[AnywhereOptions],
) -> tuple[list[R], Report]: ...
@overload
async def execute_async(
    fn: Callable[[T], Any],
    data: Data[T],
    /,
    *,
    return_exceptions: bool,
    return_report: Literal[False] = ...,
    **options: Unpack[AnywhereOptions],
) -> list[Any]: ...
@overload
async def execute_async(
    fn: Callable[[T], Any],
    data: Data[T],
    /,
    *,
    return_exceptions: bool,
    return_report: Literal[True],
    **options: Unpack[AnywhereOptions],
) -> tuple[list[Any], Report]: ...
async def execute_async(
    fn: Callable[..., Any],
    data: Data[Any],
    /,
    *,
    hooks: Hooks = None,
    n_jobs: int | None = None,
    chunksize: int | None = None,
    executor: AnyExecutor = None,
    retry: RetryPolicy | int | None = None,
    item_timeout: float | None = None,
    return_exceptions: bool = False,
    return_report: bool = False,
) -> list[Any] | tuple[list[Any], Report]:
    """Run `fn` over `data` in worker processes, beside the event loop: `[fn(item) for item in data]`, awaited.

    Args:
        fn: takes one item; plain, or `async def` (then each worker runs many items at once on a loop of its own). It
            travels by reference if it can be imported, else by value: lambdas, closures and `__main__` work.
        data: a sequence (sliced, never copied whole), an iterable (pulled in a helper thread, a chunk ahead), or an
            async iterable. Each item runs exactly once, unless a worker dies.
        hooks: a `HookManager`, or several, that are told what happens.
        n_jobs: the most workers to use at once; None: as many as the executor has.
        chunksize: items per chunk; None: decided for each chunk from what those before it cost.
        executor: where it runs. None: the loop's shared `AsyncExecutor`, opened on first use and closed with the loop;
            an `AsyncExecutor`; any `concurrent.futures.Executor`; or "thread", for functions that release the GIL.
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
        in a note; WorkerCrashedError if a worker died of an item; ItemTimeoutError; InputError if `data` raised;
        UnpicklableError if the function, an item or a result cannot travel; WorkerStartError; TypeError and ValueError
        for bad arguments, before any worker starts. A time limit for all of it is `asyncio.timeout()`: cancelling the
        call stops its work.
    """
    call = Call.checked(
        fn,
        data,
        hooks=hooks,
        n_jobs=n_jobs,
        chunksize=chunksize,
        retry=retry,
        item_timeout=item_timeout,
        return_exceptions=return_exceptions,
    )
    values, report = await collect(await _engine(_checked_executor(executor), n_jobs), call)
    return (values, report) if return_report else values


@overload
def stream_async(
    fn: Callable[[T], Coroutine[Any, Any, R]],
    data: Data[T],
    /,
    *,
    executor: AnyExecutor = ...,
    **options: Unpack[StreamOptions],
) -> ResultStream[R]: ...
@overload
def stream_async(
    fn: Callable[[T], R], data: Data[T], /, *, executor: AnyExecutor = ..., **options: Unpack[StreamOptions]
) -> ResultStream[R]: ...
def stream_async(
    fn: Callable[..., Any],
    data: Data[Any],
    /,
    *,
    ordered: bool = True,
    buffersize: int | None = None,
    hooks: Hooks = None,
    n_jobs: int | None = None,
    chunksize: int | None = None,
    executor: AnyExecutor = None,
    retry: RetryPolicy | int | None = None,
    item_timeout: float | None = None,
    return_exceptions: bool = False,
) -> ResultStream[Any]:
    """Run `fn` over `data` and give each result while the rest is still running.

    Best as `async with stream_async(fn, data) as results: async for value in results: ...`.

    Args:
        ordered: results in input order; False: as they complete (`.enumerate()` tells which is which).
        buffersize: the most results dispatched and not yet consumed; None: a window of 16 chunks per worker. However
            long `data` is, no more than that is read ahead, and one chunk.
        fn, data, hooks, n_jobs, chunksize, executor, retry, item_timeout, return_exceptions: as for `execute_async`.

    Returns:
        A `ResultStream`; nothing runs before it is used. A failure is raised where the failed item's result would
        have come; in an ordered stream all results before it come first.
    """
    call = Call.checked(
        fn,
        data,
        hooks=hooks,
        n_jobs=n_jobs,
        chunksize=chunksize,
        retry=retry,
        item_timeout=item_timeout,
        return_exceptions=return_exceptions,
    )
    where = _checked_executor(executor)
    return open_stream(lambda: _engine(where, n_jobs), call, ordered=ordered, buffersize=buffersize)


@overload
def execute(
    fn: Callable[[T], Coroutine[Any, Any, R]],
    data: Data[T],
    /,
    *,
    return_exceptions: Literal[False] = ...,
    return_report: Literal[False] = ...,
    **options: Unpack[AnywhereOptions],
) -> list[R]: ...
@overload
def execute(
    fn: Callable[[T], R],
    data: Data[T],
    /,
    *,
    return_exceptions: Literal[False] = ...,
    return_report: Literal[False] = ...,
    **options: Unpack[AnywhereOptions],
) -> list[R]: ...
@overload
def execute(
    fn: Callable[[T], Coroutine[Any, Any, R]],
    data: Data[T],
    /,
    *,
    return_exceptions: Literal[False] = ...,
    return_report: Literal[True],
    **options: Unpack[AnywhereOptions],
) -> tuple[list[R], Report]: ...
@overload
def execute(
    fn: Callable[[T], R],
    data: Data[T],
    /,
    *,
    return_exceptions: Literal[False] = ...,
    return_report: Literal[True],
    **options: Unpack[AnywhereOptions],
) -> tuple[list[R], Report]: ...
@overload
def execute(
    fn: Callable[[T], Any],
    data: Data[T],
    /,
    *,
    return_exceptions: bool,
    return_report: Literal[False] = ...,
    **options: Unpack[AnywhereOptions],
) -> list[Any]: ...
@overload
def execute(
    fn: Callable[[T], Any],
    data: Data[T],
    /,
    *,
    return_exceptions: bool,
    return_report: Literal[True],
    **options: Unpack[AnywhereOptions],
) -> tuple[list[Any], Report]: ...
def execute(
    fn: Callable[..., Any],
    data: Data[Any],
    /,
    *,
    hooks: Hooks = None,
    n_jobs: int | None = None,
    chunksize: int | None = None,
    executor: AnyExecutor = None,
    retry: RetryPolicy | int | None = None,
    item_timeout: float | None = None,
    return_exceptions: bool = False,
    return_report: bool = False,
) -> Any:
    """`execute_async` for code without an event loop: blocks until the results are there.

    Arguments, results and errors are those of `execute_async`. Inside a running loop's thread (a notebook cell) it runs
    on a loop in another thread meanwhile, and blocks the running one. An `AsyncExecutor` is used on its own loop, which
    must be running in another thread.
    """

    def called() -> Coroutine[Any, Any, Any]:
        options: AnywhereOptions = {
            "hooks": hooks,
            "n_jobs": n_jobs,
            "chunksize": chunksize,
            "executor": executor,
            "retry": retry,
            "item_timeout": item_timeout,
        }
        if return_report:
            return execute_async(fn, data, return_exceptions=return_exceptions, return_report=True, **options)
        return execute_async(fn, data, return_exceptions=return_exceptions, **options)

    if isinstance(executor, AsyncExecutor):
        return _on_loop_of(executor, called)
    if _running_loop() is None:
        return _in_new_loop(called)
    return _in_another_thread(called)


# ── where a call runs ────────────────────────────────────────────────────────────────────────────────────────────────


def _checked_executor(executor: AnyExecutor) -> AnyExecutor:
    if executor is None or executor == "thread" or isinstance(executor, AsyncExecutor | concurrent.futures.Executor):
        return executor
    given = repr(executor) if isinstance(executor, str) else f"a {type(executor).__name__}"
    raise TypeError(f"executor is {given}; pass None, 'thread', an AsyncExecutor or a concurrent.futures.Executor")


async def _engine(executor: AnyExecutor, n_jobs: int | None) -> Engine:
    if executor is None:
        return (await shared_executor(n_jobs)).engine()
    if isinstance(executor, AsyncExecutor):
        return executor.engine()
    width = usable_cpus() if n_jobs is None else n_jobs
    managers = await configured_managers()
    if isinstance(executor, concurrent.futures.Executor):
        pool = ForeignPool(executor, width)
        await pool.warm()
        return Engine(pool, CostMemory(), managers)
    pool = open_threads(width)
    return Engine(pool, CostMemory(), managers, close=pool.aclose)


# ── running without a loop ───────────────────────────────────────────────────────────────────────────────────────────


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _in_new_loop(called: Callable[[], Coroutine[Any, Any, R]]) -> R:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(called())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's; None for asyncio's own where there is no uvloop, or where libuv would abort the process.

    It does when its own descriptors fall on the numbers of standard streams that are closed.
    """
    try:
        import uvloop

        for stream in range(3):
            os.fstat(stream)
    except (ImportError, OSError):
        return None
    return uvloop.new_event_loop


def _in_another_thread(called: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Run in a new loop in a new thread, and wait; Ctrl-C here cancels the call there."""
    outcome: concurrent.futures.Future[R] = concurrent.futures.Future()
    stop = _Stoppable(called)
    context = copy_context()

    def work() -> None:
        try:
            outcome.set_result(context.run(_in_new_loop, stop.run))
        except BaseException as exc:  # noqa: BLE001 - it goes to the thread that waits, which raises it
            outcome.set_exception(exc)

    thread = threading.Thread(target=work, name="amorsize-execute", daemon=True)
    thread.start()
    try:
        return outcome.result()
    except KeyboardInterrupt:
        stop.cancel()
        raise
    finally:
        thread.join()


class _Stoppable:
    """A coroutine that another thread can cancel."""

    def __init__(self, called: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._called = called
        self._task: asyncio.Task[Any] | None = None

    async def run(self) -> Any:
        self._task = asyncio.current_task()
        return await self._called()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)


def _on_loop_of(executor: AsyncExecutor, called: Callable[[], Coroutine[Any, Any, R]]) -> R:
    loop = executor.loop
    if loop is None or not loop.is_running():
        raise ExecutorClosedError("the executor's event loop is not running; start it there, or leave out executor=")
    if loop is _running_loop():
        raise ExecutorClosedError(
            "execute() would block the loop that its executor runs on; await execute_async() instead"
        )
    outcome = asyncio.run_coroutine_threadsafe(called(), loop)
    try:
        return outcome.result()
    except KeyboardInterrupt:
        outcome.cancel()
        raise
