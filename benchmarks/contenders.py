"""The library and its peers behind one face: open, tune (not counted), run a function over items, close.

All pools have the same number of workers and the same start method, and are warm before they are measured. Those that
block run in a thread, so that an event loop exists beside them.
"""

from __future__ import annotations

import asyncio
import importlib.util
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext
from typing import Any

from amorsize_async import AsyncExecutor, Report

from .loads import Load, next_number
from .tuning import best_of, chunk_sizes

__all__ = (
    "Contender",
    "ExecutorMap",
    "Joblib",
    "NaiveGather",
    "Ours",
    "PoolMap",
    "Serial",
    "TunedExecutorMap",
    "start_context",
)

Fn = Callable[[Any], Any]


def start_context() -> BaseContext:
    """The start method of all contenders: the one that the library uses too."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


class Contender:
    """Somebody who runs a function over items.

    name: in the tables. needs: a module that may not be installed. coroutines: runs `async def` functions as such.
    restless: wakes so often while idle that it would disturb the others; it is open only while it runs itself.
    """

    name = ""
    needs = "asyncio"
    coroutines = False
    restless = False

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} workers={self.workers}>"

    @classmethod
    def installed(cls) -> bool:
        """Whether the peer is there."""
        return importlib.util.find_spec(cls.needs) is not None

    async def open(self) -> None:
        """Start, and run a little, so that nothing is cold."""
        await self.start()
        await self.run(next_number, range(100))

    async def start(self) -> None:
        """Make the pool; some of its workers may start with the first call only."""

    async def tune(self, load: Load) -> str:
        """Choose the best settings for a load, and say which; the time this takes is not counted."""
        return ""

    async def run(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Run `fn` over `data`; results in input order."""
        return await asyncio.to_thread(self.run_blocking, fn, data)

    def run_blocking(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """What `run` does in a thread."""
        raise NotImplementedError

    async def close(self) -> None:
        """Leave nothing behind."""


class Serial(Contender):
    """A plain loop, in a thread."""

    name = "a plain loop"

    def run_blocking(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Call, call, call."""
        return [fn(item) for item in data]


class ExecutorMap(Contender):
    """`ProcessPoolExecutor.map` as it is when nobody thinks of chunks."""

    name = "ProcessPoolExecutor.map"
    chunksize = 1

    async def start(self) -> None:
        """Make the pool, whose workers start with the first calls."""
        self.pool = ProcessPoolExecutor(self.workers, mp_context=start_context())

    async def open(self) -> None:
        """Start all workers, which takes several calls."""
        await self.start()
        await asyncio.to_thread(self._map, next_number, range(100), 1)

    def run_blocking(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Map with the chunk size of this contender."""
        return self._map(fn, data, self.chunksize)

    def _map(self, fn: Fn, data: Iterable[Any], chunksize: int) -> list[Any]:
        return list(self.pool.map(fn, data, chunksize=chunksize))

    async def close(self) -> None:
        """Wait for the workers to end."""
        await asyncio.to_thread(self.pool.shutdown)


class TunedExecutorMap(ExecutorMap):
    """The same with the best chunk size for this load, found by trying."""

    name = "ProcessPoolExecutor.map, tuned"

    async def tune(self, load: Load) -> str:
        """Try sizes from the largest down, until they are clearly worse; keep the best."""
        self.chunksize, tried = await best_of(
            chunk_sizes(load, self.workers),
            lambda size: asyncio.to_thread(self._map, load.function(coroutines=False), load.items(), size),
        )
        return f"chunks of {self.chunksize:,}, the best of {tried} tried"


class PoolMap(Contender):
    """`multiprocessing.Pool.map`, four chunks per worker by its own rule."""

    name = "multiprocessing.Pool.map"

    async def start(self) -> None:
        """Start all workers."""
        self.pool: Any = await asyncio.to_thread(start_context().Pool, self.workers)

    def run_blocking(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Map, in chunks of the pool's own choice."""
        results: list[Any] = self.pool.map(fn, data)
        return results

    async def close(self) -> None:
        """Wait for the workers to end."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self.pool.close()
        self.pool.join()


class Joblib(Contender):
    """joblib with its default backend, loky, and its default, automatic batches."""

    name = "joblib (loky)"
    needs = "joblib"

    async def start(self) -> None:
        """Get ready; the executor that loky reuses for every call starts with the first one."""
        joblib = importlib.import_module("joblib")
        self.parallel = joblib.Parallel(n_jobs=self.workers)
        self.delayed = joblib.delayed

    def run_blocking(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Run a generator of delayed calls, as the documentation does."""
        delayed = self.delayed(fn)
        return list(self.parallel(delayed(item) for item in data))

    async def close(self) -> None:
        """End the executor that loky keeps for the process."""
        loky = importlib.import_module("joblib.externals.loky")
        await asyncio.to_thread(loky.get_reusable_executor().shutdown, wait=True)


class NaiveGather(ExecutorMap):
    """What asyncio's documentation leads to: one future per item, gathered."""

    name = "gather(*run_in_executor(...))"

    async def run(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Make a future of each item, and gather them."""
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*[loop.run_in_executor(self.pool, fn, item) for item in data])


class Ours(Contender):
    """`AsyncExecutor.execute`, as it comes. report: of its last run."""

    name = "amorsize_async"
    coroutines = True

    async def start(self) -> None:
        """Start the workers."""
        self.executor = await AsyncExecutor(self.workers).start()

    async def run(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Await the call."""
        results, report = await self.executor.execute(fn, data, return_report=True)
        self.report: Report = report
        return results

    async def close(self) -> None:
        """Close the executor."""
        await self.executor.aclose()
