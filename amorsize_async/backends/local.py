"""Workers of our own: slots, each one `ProcessPoolExecutor` of one process; started in threads, killed one by one.

A slot is the unit of everything that can go wrong: a death, a kill, a hang concerns one process and what it holds, and
its neighbours keep their pids and their work.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from multiprocessing.connection import wait as wait_for_sentinels
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any, cast

from .. import _failures, _worker_start
from .._sharing import Share
from .._threads import in_thread
from .._worker import CELL_WORDS
from ..errors import WorkerStartError
from .pool import Place, Pool

__all__ = ("LocalPool", "SlotSettings")

PRELOADED = ["amorsize_async._worker_start", "concurrent.futures.process", "cloudpickle"]
# What the fork server imports once, so that a worker is there 5 ms after it is asked for, and not 60.

EXIT_WAIT = 2.0
# Seconds an idle worker has to end by itself when its slot is closed, before it is killed.

EXITCODE_WAIT = 1.0
# Seconds to wait for the exit code of a process that another thread reaped; it takes microseconds.


@dataclass(frozen=True, slots=True)
class SlotSettings:
    """How slots are made: the start method, what each worker is told, and the seconds its start may take."""

    start_method: str
    setup: _worker_start.Setup
    start_timeout: float


class _RecordingContext:
    """A multiprocessing context that remembers the process it made: the public way to a worker's pid and to `kill`."""

    def __init__(self, start_method: str) -> None:
        self._context = multiprocessing.get_context(start_method)
        self.process: BaseProcess | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def Process(self, *args: Any, **kwargs: Any) -> BaseProcess:  # noqa: N802 - the name of the original
        process: BaseProcess = _one_at_a_time(getattr(self._context, "Process"))(*args, **kwargs)  # noqa: B009
        self.process = process
        return process


_reaping = threading.Lock()


def _one_at_a_time(base: Any) -> Any:
    """The class of processes `base`, of which one at a time is started or reaped.

    Starting a process polls all others (`multiprocessing.process._cleanup`), and of two threads that poll the same dead
    child at once, one gets a wrong exit code: 255 from a fork server, None else.
    """

    class Process(base):  # type: ignore[misc]
        def start(self) -> None:
            with _reaping:
                super().start()

        def join(self, timeout: float | None = None) -> None:
            wait_for_sentinels([self.sentinel], timeout)
            with _reaping:
                super().join(0 if timeout is not None else None)

        def __reduce__(self) -> tuple[Any, ...]:
            return object.__new__, (base,), self.__dict__  # in the child it is a plain process

    return Process


class _Slot(Place):
    """One worker process and the one-worker executor around it; made anew after each death, never revived."""

    def __init__(self, settings: SlotSettings) -> None:
        super().__init__()
        self._settings = settings
        self._context = _RecordingContext(settings.start_method)
        self._pool: ProcessPoolExecutor | None = None
        self._gone = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Slot pid={self.pid} load={self.load} chunks={self.chunks}>"

    async def open(self) -> None:
        """Start the process in a helper thread and wait for its first word; raises WorkerStartError."""
        timeout = self._settings.start_timeout
        try:
            async with asyncio.timeout(timeout):
                started = await in_thread(self._launch)
                hello = await asyncio.wrap_future(started)
        except TimeoutError:
            self.kill()
            await self.aclose()
            raise WorkerStartError(
                f"a worker did not start within {timeout} s; its initializer may hang, or raise start_timeout"
            ) from None
        except Exception as exc:  # whatever the system refuses: a process, a thread, a pipe, a semaphore
            await self.aclose()
            raise _start_error(exc, self._exitcode) from exc
        if hello.failure is not None:
            await self.aclose()
            raise _initializer_error(hello.failure)
        self.pid = hello.pid
        self.executor = self._pool

    def _launch(self) -> Future[_worker_start.Hello]:
        """Start the process; blocking, for a thread. `submit` is what starts it."""
        if self._settings.start_method == "forkserver":
            multiprocessing.set_forkserver_preload(PRELOADED)
        memory = self._context.RawArray("q", CELL_WORDS)
        self.cell = memoryview(memory).cast("B").cast("q")
        self._pool = ProcessPoolExecutor(
            max_workers=1,
            mp_context=cast(BaseContext, self._context),
            initializer=_worker_start.start_worker,
            initargs=(self._settings.setup, memory),
        )
        with _main_not_imported():
            return self._pool.submit(_worker_start.hello)

    def broke(self) -> None:
        self.executor = None

    def kill(self) -> bool:
        process = self._context.process
        self.executor = None
        if process is not None and process.pid is not None:
            with suppress(ValueError, ProcessLookupError):  # it was closed, or is gone already
                process.kill()
        return True

    async def buried(self) -> int | None:
        await self._gone.wait()
        return self._exitcode

    @property
    def _exitcode(self) -> int | None:
        process = self._context.process
        return process.exitcode if process is not None and process.pid is not None else None

    async def aclose(self) -> None:
        """Let the worker end by itself, kill it if it does not; wait until process, threads and pipes are gone."""
        idle = self.executor is not None and not self.load
        self.executor = None
        try:
            await in_thread(lambda: self._end(idle=idle))
        finally:
            self._gone.set()

    def _end(self, *, idle: bool) -> None:
        """Blocking, for a thread: end the process, by itself if it is idle and quick about it, and reap it.

        `shutdown(wait=True)` comes once: it joins the pool's thread, which reaps the process; a second one would not.
        """
        if self._pool is None:
            return
        if not idle:
            self.kill()
        watchdog = threading.Timer(EXIT_WAIT, self.kill)
        watchdog.start()
        self._pool.shutdown(wait=True, cancel_futures=True)
        watchdog.cancel()
        watchdog.join()
        self._await_exitcode()

    def _await_exitcode(self) -> None:
        """Wait until the exit code is there: somebody else who started a process may have reaped ours meanwhile.

        `multiprocessing.process._cleanup` does that in whichever thread starts one, and nothing tells when it has.
        """
        deadline = time.monotonic() + EXITCODE_WAIT
        process = self._context.process
        while process is not None and process.pid and self._exitcode is None and time.monotonic() < deadline:
            time.sleep(0.001)


_naming_main = threading.Lock()


@contextmanager
def _main_not_imported() -> Iterator[None]:
    """Start a process that does not import the caller's `__main__`.

    multiprocessing tells a child to import the parent's main module, which runs a script without a guard again, needs
    a file that a notebook does not have, and pulls an application's imports into each worker. Our functions from
    `__main__` travel by value, so nobody needs it. A main module whose spec is named `__main__` is what multiprocessing
    itself takes for one that cannot be imported (a zip file or folder); it looks while the process is being started.
    """
    main = sys.modules["__main__"]
    with _naming_main:
        spec = main.__spec__
        main.__spec__ = ModuleSpec("__main__", None)
        try:
            yield
        finally:
            main.__spec__ = spec


def _start_error(cause: BaseException, exitcode: int | None) -> WorkerStartError:
    return WorkerStartError(
        f"a worker could not be started ({type(cause).__name__}: {cause}; exit code {exitcode}); "
        "what it wrote to stderr says more"
    )


def _initializer_error(failure: _failures.Failure) -> WorkerStartError:
    cause = _failures.received(failure, 0)
    error = WorkerStartError(f"the initializer of a worker raised {type(cause).__name__}; no worker can start")
    error.__cause__ = cause
    return error


@dataclass(slots=True)
class _Starts:
    """Starts that are under way, and what the last failed one said."""

    tasks: dict[asyncio.Task[None], _Slot] = field(default_factory=dict)
    burials: set[asyncio.Task[Any]] = field(default_factory=set)


class LocalPool(Pool):
    """Up to `n_jobs` slots, each started when it is first needed."""

    def __init__(self, n_jobs: int, settings: SlotSettings) -> None:
        super().__init__("process")
        self.n_jobs: int = n_jobs
        self.started: int = 0
        self._settings = settings
        self._starts = _Starts()

    @property
    def capacity(self) -> int:
        """Workers it may have."""
        return self.n_jobs

    async def start_all(self) -> None:
        """Start every slot and wait for them; raises WorkerStartError if one cannot be started."""
        self.refuse_if_closed()
        self._start(self.n_jobs)
        await asyncio.gather(*self._starts.tasks)

    def prepare(self, share: Share, wanted: int) -> None:
        """Start slots so that `share` can have `wanted` of them."""
        self._start(min(share.limit, wanted))

    def _more_to_come(self, share: Share) -> bool:
        return bool(self._starts.tasks) and len(share.held) < share.limit

    def _make_more(self) -> None:
        self._start(sum(len(share.held) < share.limit for waiter, share in self._waiting.items() if not waiter.done()))

    def _start(self, wanted: int) -> None:
        """Have `wanted` slots that are idle or being started, but no more than `n_jobs` with the busy ones."""
        idle = sum(not place.load for place in self.places)
        coming = len(self._starts.tasks)
        for _ in range(min(wanted - idle - coming, self.n_jobs - len(self.places) - coming)):
            slot = _Slot(self._settings)
            task = asyncio.get_running_loop().create_task(slot.open(), name="amorsize-start")
            self._starts.tasks[task] = slot
            task.add_done_callback(self._started)

    def _started(self, task: asyncio.Task[None]) -> None:
        slot = self._starts.tasks.pop(task)
        failed = None if task.cancelled() else task.exception()
        if task.cancelled() or (self.closed and not failed):
            self._bury(slot)
        elif not failed:
            self.started += 1
            self.places.append(slot)
        if isinstance(failed, Exception) and not self.places and not self._starts.tasks:
            self._give_up(failed)
        self._grant()
        if not failed:
            self._make_more()

    def _give_up(self, failed: Exception) -> None:
        """Tell all who wait that there will be no worker: none is there, none is coming."""
        for waiter in list(self._waiting):
            if not waiter.done():
                waiter.set_exception(failed)

    def _remove(self, place: Place) -> None:
        super()._remove(place)
        if isinstance(place, _Slot):
            self._bury(place)
        self._make_more()

    def _bury(self, slot: _Slot) -> None:
        """Reap a slot in the background; `aclose` waits for it."""
        task = asyncio.get_running_loop().create_task(slot.aclose(), name="amorsize-bury")
        self._starts.burials.add(task)
        task.add_done_callback(self._starts.burials.discard)

    async def aclose(self, drain: float = 0.0) -> None:
        """Close all slots: idle workers end by themselves, busy ones are killed."""
        await super().aclose(drain)
        for task in self._starts.tasks:
            task.cancel()
        for place in list(self.places):
            if place.load:
                self._kill(place)
            else:
                self._remove(place)
        while pending := {*self._starts.tasks, *self._starts.burials}:
            await asyncio.wait(pending)
