"""`AsyncExecutor`: a warm pool of workers with defaults, for a whole application; it holds no task and no scope.

async with AsyncExecutor() as executor:
    results = await executor.execute(fn, data)
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, Unpack, overload

from ._admission import Admission, Ticket
from ._call import Call, checked_managers, checked_number, shows_options
from ._coroutines import is_async_callable
from ._costs import CostMemory
from ._engine import Engine, collect, configured_managers, open_stream
from ._home import Home
from ._job import Job, wait_all
from ._loop_end import close, shared_on
from ._options import (
    AnyOptions,
    AsyncFunction,
    Data,
    Function,
    Hooks,
    ListOptions,
    ReportOptions,
    StreamOptions,
    StrictOptions,
    TolerantListOptions,
    TolerantOptions,
    TolerantReportOptions,
)
from ._payload import Applied, AppliedAsync
from ._setup import cpus_here, refuse_too_deep, slot_settings
from ._statistics import ExecutorStatistics, statistics_of
from ._stream import ResultStream
from ._wakeup import woken_by_signals
from .backends import LocalPool
from .errors import ExecutorClosedError
from .report import Report

__all__ = ("AsyncExecutor", "ExecutorStatistics", "shared_executor")

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_NOT_GIVEN: Any = ...
# Neither a callable nor iterable, so a call that lacks one of the two is refused as any wrong one is.


class AsyncExecutor:
    """A pool of worker processes for one event loop, shared fairly by all calls on it.

    n_jobs: workers; None: the CPUs this process may use (affinity, cgroup quota, `AMORSIZE_N_JOBS`); in a worker of
    another executor, its part of them, so that nested calls do not multiply.
    hooks: a `HookManager`, or several, that get the events of every run.
    start_method: "forkserver", "spawn" or "fork"; None: forkserver where there is one, else spawn.
    initializer, initargs: called in each worker before its first item; it may be a lambda.
    inner_threads: threads that numerical libraries (OpenMP, OpenBLAS, MKL, ...) use in each worker unless their own
    variables are set; None: leave them alone.
    max_items_per_worker: items after which a worker is replaced by a new one; None: never. max_worker_rss: bytes of
    memory from which on it is, looked at after each chunk; None: any. Nothing is lost by either.
    max_item_deaths: workers that may die of one item before it fails; the first death may have come from outside.
    cancel_grace: seconds that running items get when their call is cancelled, before their worker is killed.
    start_timeout: seconds that a worker may take to start, its initializer included.
    max_pending: calls (execute, stream, submit, start) that may be in it at once, waiting or running; one more raises
    ExecutorSaturatedError before anything is started. None: any number. A service should set it: what waits without
    end answers nobody in time.

    Raises TypeError or ValueError for what is out of range, UnpicklableError for an initializer that cannot travel.
    """

    def __init__(
        self,
        n_jobs: int | None = None,
        *,
        hooks: Hooks = None,
        start_method: Literal["forkserver", "spawn", "fork"] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        inner_threads: int | None = 1,
        max_items_per_worker: int | None = None,
        max_worker_rss: int | None = None,
        max_item_deaths: int = 2,
        cancel_grace: float = 0.1,
        start_timeout: float = 60.0,
        max_pending: int | None = None,
    ) -> None:
        checked_number("n_jobs", n_jobs)
        checked_number("max_item_deaths", max_item_deaths, optional=False)
        checked_number("max_pending", max_pending)
        checked_number("cancel_grace", cancel_grace, 0, whole=False, optional=False)
        self._managers = checked_managers(hooks)
        self._n_jobs = self._made_with = cpus_here() if n_jobs is None else n_jobs
        self._settings = slot_settings(
            self._n_jobs,
            start_method=start_method,
            initializer=initializer,
            initargs=initargs,
            inner_threads=inner_threads,
            start_timeout=start_timeout,
            max_items=max_items_per_worker,
            max_rss=max_worker_rss,
        )
        self._cancel_grace = cancel_grace
        self._max_item_deaths = max_item_deaths
        self._costs = CostMemory()
        self._admission = Admission(max_pending)
        self._jobs: dict[str, Job[Any]] = {}
        self._closing = False
        self._home = Home()

    def __repr__(self) -> str:
        pool = self._home.pool
        return f"<AsyncExecutor n_jobs={self._n_jobs} {'not started' if pool is None else repr(pool)}>"

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    def start(self, /) -> Coroutine[Any, Any, Self]: ...
    @overload
    def start(self, fn: AsyncFunction[T, R], data: Data[T], /, **options: Unpack[StrictOptions]) -> Job[R]: ...
    @overload
    def start(self, fn: Function[T, R], data: Data[T], /, **options: Unpack[StrictOptions]) -> Job[R]: ...
    @overload
    def start(self, fn: Function[T, Any], data: Data[T], /, **options: Unpack[TolerantOptions]) -> Job[Any]: ...
    @shows_options
    def start(
        self, fn: Any = _NOT_GIVEN, data: Any = _NOT_GIVEN, /, **options: Unpack[AnyOptions]
    ) -> Coroutine[Any, Any, Self] | Job[Any]:
        """Start a run that goes on by itself, or, without arguments, the workers: one word for what is begun here.

        `await executor.start()` starts all workers, as `async with` does, and waits until they are there; raises
        WorkerStartError.

        `executor.start(fn, data, ...)` starts a run of `fn` over `data` and returns at once a `Job`, to be awaited,
        watched or cancelled by anybody. Arguments and options as of `execute`, `return_report=` aside: a job has a
        `report`. Raises as `execute` does before it starts anything.
        """
        if fn is _NOT_GIVEN and not options:
            return self._start_workers()
        if data is _NOT_GIVEN:
            raise TypeError("start() takes fn and data, to start a run, or nothing at all, to start the workers")
        return self._start_job(Call.checked(fn, data, **options))

    async def _start_workers(self) -> Self:
        pool = await self._open()
        try:
            with woken_by_signals():
                await pool.start_all()
        except BaseException:  # a cancellation, too: no worker may outlive a start that failed
            await self.aclose(drain=0.0)
            raise
        return self

    def _start_job(self, call: Call) -> Job[Any]:
        pool, ticket = self._enter()

        def ended(job: Job[Any]) -> None:
            ticket.leave()  # one that is cancelled before its first turn never comes to leave by itself
            del self._jobs[job.id]

        job = Job[Any](self._engine(pool, ticket), call, ended)
        self._jobs[job.id] = job
        return job

    @property
    def jobs(self) -> tuple[Job[Any], ...]:
        """The jobs that have not ended, the oldest first."""
        return tuple(self._jobs.values())

    async def aclose(self, drain: float | None = 10.0) -> None:
        """Close: take no more calls, let those that run end for `drain` seconds, stop what is left, end the workers.

        Calls and jobs that are left raise ExecutorClosedError. drain=None: they have any time. Safe to call again.
        """
        checked_number("drain", drain, 0, whole=False)
        nothing_to_close = self._home.pool is None or self._home.pool.closed
        pool = None if nothing_to_close else self._home.pool_here()
        self._closing = True
        if pool is None:
            return
        left = 0.0
        try:
            left = await self._jobs_ended(math.inf if drain is None else drain)
        finally:
            await close(pool, left)
        await wait_all(self.jobs)

    async def _jobs_ended(self, drain: float) -> float:
        """Let jobs end, also those that the pool has not met yet; gives the seconds of `drain` that are left."""
        began = time.monotonic()
        if drain > 0:
            await wait_all(self.jobs, drain)
        return max(0.0, drain - (time.monotonic() - began))

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose(drain=10.0 if exc_type is None else 0.0)

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    async def execute(self, fn: AsyncFunction[T, R], data: Data[T], /, **options: Unpack[ListOptions]) -> list[R]: ...
    @overload
    async def execute(self, fn: Function[T, R], data: Data[T], /, **options: Unpack[ListOptions]) -> list[R]: ...
    @overload
    async def execute(
        self, fn: AsyncFunction[T, R], data: Data[T], /, **options: Unpack[ReportOptions]
    ) -> tuple[list[R], Report]: ...
    @overload
    async def execute(
        self, fn: Function[T, R], data: Data[T], /, **options: Unpack[ReportOptions]
    ) -> tuple[list[R], Report]: ...
    @overload
    async def execute(
        self, fn: Function[T, Any], data: Data[T], /, **options: Unpack[TolerantListOptions]
    ) -> list[Any]: ...
    @overload
    async def execute(
        self, fn: Function[T, Any], data: Data[T], /, **options: Unpack[TolerantReportOptions]
    ) -> tuple[list[Any], Report]: ...
    @shows_options
    async def execute(
        self,
        fn: Callable[..., Any],
        data: Data[Any],
        /,
        *,
        return_report: bool = False,
        **options: Unpack[AnyOptions],
    ) -> list[Any] | tuple[list[Any], Report]:
        """Run `fn` over `data` in this executor's workers: as `execute_async`, `executor=` aside."""
        call = Call.checked(fn, data, **options)
        values, report = await collect(self.engine(), call)
        return (values, report) if return_report else values

    @overload
    def stream(
        self, fn: AsyncFunction[T, R], data: Data[T], /, **options: Unpack[StreamOptions]
    ) -> ResultStream[R]: ...
    @overload
    def stream(self, fn: Function[T, R], data: Data[T], /, **options: Unpack[StreamOptions]) -> ResultStream[R]: ...
    @shows_options
    def stream(
        self,
        fn: Callable[..., Any],
        data: Data[Any],
        /,
        *,
        ordered: bool = True,
        buffersize: int | None = None,
        **options: Unpack[AnyOptions],
    ) -> ResultStream[Any]:
        """Stream the results of `fn` over `data`: as `stream_async`, `executor=` aside."""
        call = Call.checked(fn, data, **options)

        async def opened() -> Engine:
            return self.engine()

        return open_stream(opened, call, ordered=ordered, buffersize=buffersize)

    @overload
    async def submit(self, fn: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    @overload
    async def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...

    async def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run one call in a worker and wait for its result; a run of one item to the executor's hooks.

        Raises as `execute` does.
        """
        if not callable(fn):
            raise TypeError(f"fn is a {type(fn).__name__}, not a callable; pass the function first, then its arguments")
        applied = AppliedAsync(fn) if is_async_callable(fn) else Applied(fn)
        values = await self.execute(applied, [(args, kwargs)])
        return values[0]

    def statistics(self) -> ExecutorStatistics:
        """What the executor holds and does at this moment."""
        return statistics_of(self._home.pool, self._n_jobs, self._admission, closing=self._closing)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it was started on, None before."""
        return self._home.loop

    def engine(self) -> Engine:
        """What one call on this executor runs on, which counts from now on as one of `max_pending`.

        Raises ExecutorClosedError before the start, after the close and on another loop, and ExecutorSaturatedError.
        """
        return self._engine(*self._enter())

    def _enter(self) -> tuple[LocalPool, Ticket]:
        """Let one call in, if this executor may be used here and now."""
        pool = self._home.pool_here()
        self._refuse_if_closed()
        return pool, self._admission.enter()

    def _refuse_if_closed(self) -> None:
        if self._closing:
            raise ExecutorClosedError("the executor is closed; open a new one, or close it after its last call")

    def _engine(self, pool: LocalPool, ticket: Ticket) -> Engine:
        return Engine(
            pool,
            self._costs,
            self._managers,
            self._cancel_grace,
            self._max_item_deaths,
            n_jobs=self._made_with,
            close=ticket.aclose,
        )

    async def _open(self) -> LocalPool:
        """Bind to the running loop; workers then start as they are needed."""
        refuse_too_deep()
        if self._home.pool is None:
            await self._settle()
        return self._home.pool_here()

    async def _settle(self) -> None:
        self._refuse_if_closed()
        configured = await configured_managers()
        self._refuse_if_closed()
        if self._home.pool is None:  # still: another call may have been first
            self._managers = (*configured, *self._managers)
            await self._home.settle(self, LocalPool(self._n_jobs, self._settings))

    def owns(self, pool: LocalPool) -> bool:
        """Whether these are its workers."""
        return self._home.pool is pool

    def _grow(self, n_jobs: int | None) -> None:
        if n_jobs is not None and self._home.pool is not None:
            self._n_jobs = self._home.pool.n_jobs = max(self._n_jobs, n_jobs)


# ── the executor that a loop's calls share ───────────────────────────────────────────────────────────────────────────


async def shared_executor(n_jobs: int | None) -> AsyncExecutor:
    """The executor that all calls without one share on this loop: opened on first use, closed with the loop.

    It grows to the largest `n_jobs` that was asked for; calls that ask for none go on with as many as before.
    """
    executor = shared_on(asyncio.get_running_loop(), AsyncExecutor)
    await executor._open()  # noqa: SLF001 - the module's own class
    executor._grow(n_jobs)  # noqa: SLF001
    return executor
