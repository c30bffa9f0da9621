"""A `concurrent.futures.Executor` over an `AsyncExecutor`, which runs on an event loop in a thread of its own.

For tests that others wrote for `ProcessPoolExecutor`: it speaks that one's words, and knows nothing of their tests.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import queue
import threading
import time
import weakref
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from contextlib import suppress
from functools import partial
from pickle import PicklingError

from amorsize_async import AmorsizeError, AsyncExecutor
from amorsize_async.errors import RemoteError, RemoteTraceback, UnpicklableError

BARE = {kind.__name__: kind for kind in (SystemExit, KeyboardInterrupt)}
"""What a future may hold as itself, and a coroutine had better not raise."""


class LoopExecutor(Executor):
    """Takes calls from any thread; `AsyncExecutor` does the work."""

    def __init__(self, max_workers=None, mp_context=None, initializer=None, initargs=()):
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        start_method = None if mp_context is None else mp_context.get_start_method()
        executor = AsyncExecutor(max_workers, start_method=start_method, initializer=initializer, initargs=initargs)
        self._host = _Host(executor)
        self._max_workers = executor.statistics().n_jobs
        weakref.finalize(self, self._host.close)

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self._host.begin(self._host.run, future, partial(self._host.executor.submit, fn, *args, **kwargs))
        return future

    def map(self, fn, *iterables, timeout=None, chunksize=1):
        deadline = None if timeout is None else time.monotonic() + timeout
        results = queue.SimpleQueue()
        stream = self._host.executor.stream(
            partial(_spread, fn), list(zip(*iterables, strict=False)), chunksize=chunksize
        )
        self._host.begin(_pour, stream, results)
        return _drawn(results, deadline)

    def shutdown(self, wait=True, *, cancel_futures=False):
        self._host.close(cancel_futures=cancel_futures)
        if wait:
            self._host.thread.join()

    # What tests of ProcessPoolExecutor look at.

    @property
    def _processes(self):
        """Its worker processes, by pid."""
        workers = self._host.executor.statistics().workers
        return {process.pid: process for process in multiprocessing.active_children() if process.pid in workers}

    @property
    def _broken(self):
        return self._host.broken is not None

    @property
    def _executor_manager_thread(self):
        return self._host.thread

    @property
    def _call_queue(self):
        return self

    def join_thread(self):
        """There is no queue with a thread of its own."""


class _Host:
    """The loop's thread and what runs there; it does not know the adapter, which may be collected before it ends."""

    def __init__(self, executor):
        self.executor = executor
        self.broken = None
        self._closed = False
        self._lock = threading.Lock()
        self._waiting = set()
        self._started = threading.Event()
        self.thread = threading.Thread(target=asyncio.run, args=(self._live(),), name="loop-executor", daemon=True)
        self.thread.start()
        self._started.wait()
        # Before ProcessPoolExecutor's own, which would take the workers away from under what still runs.
        threading._register_atexit(_end, weakref.ref(self))

    async def _live(self):
        self._loop, self._tasks, self._ending = asyncio.get_running_loop(), set(), asyncio.Event()
        self._free = asyncio.Semaphore(self.executor.statistics().n_jobs)
        try:
            await self.executor.start()
        except AmorsizeError as exc:
            self.broken = exc
        self._started.set()
        await self._ending.wait()
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.executor.aclose(drain=0)

    def begin(self, function, *args):
        """Have a coroutine function run on the loop; raises as `ProcessPoolExecutor.submit` does."""
        with self._lock:
            if self.broken is not None:
                raise BrokenProcessPool("no worker can start") from self.broken
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if isinstance(args[0], Future):
                self._waiting.add(args[0])
            self._loop.call_soon_threadsafe(self._create, function, args)

    def _create(self, function, args):
        task = self._loop.create_task(function(*args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self, future, call):
        """Make a call for a future, when a worker is free."""
        async with self._free:
            self._waiting.discard(future)
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(await call())
            except Exception as exc:  # noqa: BLE001 - it goes to whoever waits for the future
                future.set_exception(_translated(exc))

    def close(self, *, cancel_futures=False):
        """Take no more; end when all is done, or all that had begun."""
        with self._lock:
            self._closed = True
        with suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._create, self._leave, (cancel_futures,))

    async def _leave(self, cancel_futures):
        """Cancel on the loop, where all that a free worker could take has begun by now, however busy the machine is."""
        for future in list(self._waiting) if cancel_futures else ():
            future.cancel()
        self._ending.set()


def _end(reference):
    host = reference()
    if host is not None:
        host.close()
        host.thread.join()


def _translated(exc):
    """An exception in the words of `ProcessPoolExecutor`."""
    if isinstance(exc, RemoteError) and exc.type_name in BARE:
        exc = BARE[exc.type_name]()
    if isinstance(exc, UnpicklableError) and isinstance(exc.__cause__, PicklingError):
        return exc.__cause__
    if isinstance(exc.__cause__, RemoteTraceback):
        exc.__cause__ = _RemoteTraceback(str(exc.__cause__))
    return exc


def _spread(fn, args):
    return fn(*args)


async def _pour(stream, results):
    """Put the values of a stream into a queue, each in a box; then the exception that ended it, or None."""
    try:
        while True:
            results.put([await anext(stream)])
    except StopAsyncIteration:
        results.put(None)
    except Exception as exc:  # noqa: BLE001 - it goes to whoever draws
        results.put(_translated(exc))


def _drawn(results, deadline):
    """Give what comes out of the queue, and keep none of it."""
    while True:
        try:
            box = results.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        if box is None:
            return
        if isinstance(box, BaseException):
            raise box
        yield box.pop()
