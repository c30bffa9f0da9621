"""The tuned peers of the matrix: each is used as its documentation says, with the best of several settings tried."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sized
from functools import partial
from typing import Any

from .contenders import Contender, ExecutorMap, Fn, Joblib, PoolMap, start_context
from .loads import Load
from .tuning import best_of, chunk_sizes

__all__ = ("Aiomultiprocess", "Gather", "Mpire", "Pebble", "Streamable", "TunedJoblib", "TunedPoolImap", "TunedPoolMap")


class TunedPoolMap(PoolMap):
    """`multiprocessing.Pool.map` with the best of its own chunk size and ours to try. chunksize: None is its own."""

    name = "Pool.map, tuned"
    chunksize: int | None = None

    async def tune(self, load: Load) -> str:
        """Try the pool's own choice, then sizes from the largest down."""
        sizes: list[int | None] = [*chunk_sizes(load, self.workers)]
        self.chunksize, tried = await best_of(sizes, partial(self._attempt, load), self.own(load))
        return f"{_chunks(self.chunksize)}, the best of {tried} tried"

    def own(self, load: Load) -> list[int | None]:
        """The sizes that need no number: its own rule."""
        return [None]

    async def _attempt(self, load: Load, chunksize: int | None) -> None:
        self.chunksize = chunksize
        await self.run(load.function(coroutines=False), load.items())

    def run_blocking(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Map in chunks of the tuned size."""
        results: list[Any] = self.pool.map(fn, data, self.chunksize)
        return results


class TunedPoolImap(TunedPoolMap):
    """`multiprocessing.Pool.imap`, which gives results as they come, and has no rule of its own but single items."""

    name = "Pool.imap, tuned"

    def own(self, load: Load) -> list[int | None]:
        """None."""
        return []

    def run_blocking(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Iterate over the results."""
        return list(self.pool.imap(fn, data, self.chunksize or 1))


class TunedJoblib(Joblib):
    """joblib over loky, warm, with the best of its automatic batches and fixed ones, arrays mapped or not."""

    name = "joblib (loky), tuned"
    context: Any = None

    async def tune(self, load: Load) -> str:
        """Try automatic batches with each way of moving arrays, then fixed sizes with the better way."""
        ways: list[str | None] = ["1M", "64K", None] if hasattr(load.data[0], "nbytes") else ["1M"]
        automatic: list[dict[str, Any]] = [{"batch_size": "auto", "max_nbytes": way} for way in ways]
        best, first = await best_of([], partial(self._attempt, load), automatic)
        fixed = [{**best, "batch_size": size} for size in chunk_sizes(load, self.workers)]
        best, then = await best_of(fixed, partial(self._attempt, load), [best])
        self._set(best)
        mapped = f", arrays of {best['max_nbytes']} and more mapped" if len(ways) > 1 and best["max_nbytes"] else ""
        return f"batches: {best['batch_size']}{mapped}, the best of {first + then - 1} tried"

    async def start(self) -> None:
        """Get ready, with the settings found."""
        await super().start()
        self._set(getattr(self, "settings", {}))

    def _set(self, settings: dict[str, Any]) -> None:
        """Enter its context, as documented for repeated calls; what it maps then lives from call to call."""
        self._leave()
        self.settings = settings
        self.context = importlib.import_module("joblib").Parallel(n_jobs=self.workers, **settings)
        self.parallel = self.context.__enter__()

    def _leave(self) -> None:
        if self.context is not None:
            self.context.__exit__(None, None, None)
        self.context = None

    async def close(self) -> None:
        """Leave the context, and end the executor."""
        self._leave()
        await super().close()

    async def _attempt(self, load: Load, settings: dict[str, Any]) -> None:
        self._set(settings)
        await self.run(load.function(coroutines=False), load.items())


class Mpire(TunedPoolMap):
    """`mpire.WorkerPool.map`, its workers kept alive from call to call."""

    name = "mpire, tuned"
    needs = "mpire"
    wrapped = False
    """Items that mpire would take for keyword arguments are wrapped, as its documentation says."""

    def own(self, load: Load) -> list[int | None]:
        """Its own rule, 64 chunks per worker, needs to know how many items there are."""
        self.wrapped = isinstance(load.data[0], Mapping)
        return [] if load.lazy else [None]

    async def start(self) -> None:
        """Make the pool, whose workers start with the first call."""
        mpire = importlib.import_module("mpire")
        self.single = importlib.import_module("mpire.utils").make_single_arguments
        self.pool = mpire.WorkerPool(self.workers, start_method=start_context().get_start_method(), keep_alive=True)

    def run_blocking(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Map, and do not let results that are arrays become one."""
        length = len(data) if isinstance(data, Sized) else None
        items = self.single(data, generator=True) if self.wrapped else data
        options = {"chunk_size": self.chunksize, "iterable_len": length, "concatenate_numpy_output": False}
        results: list[Any] = self.pool.map(fn, items, **options)
        return results

    def _close(self) -> None:
        self.pool.stop_and_join()


class Pebble(TunedPoolMap):
    """`pebble.ProcessPool.map`."""

    name = "pebble, tuned"
    needs = "pebble"

    def own(self, load: Load) -> list[int | None]:
        """None: its own size is one item."""
        return []

    async def start(self) -> None:
        """Make the pool, whose workers start with the first call."""
        self.pool = importlib.import_module("pebble").ProcessPool(self.workers, context=start_context())

    def run_blocking(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Iterate over the results of the future."""
        return list(self.pool.map(fn, data, chunksize=self.chunksize or 1).result())


class Streamable(ExecutorMap):
    """`streamable` over a `ProcessPoolExecutor`; it has no chunks, so its own `group` and `flatten` make them."""

    name = "streamable, tuned"
    needs = "streamable"

    async def tune(self, load: Load) -> str:
        """Try sizes from the largest down, until they are clearly worse."""
        self.chunksize, tried = await best_of(chunk_sizes(load, self.workers), partial(self._attempt, load))
        return f"groups of {self.chunksize:,}, the best of {tried} tried"

    async def _attempt(self, load: Load, chunksize: int) -> None:
        self.chunksize = chunksize
        await self.run(load.function(coroutines=False), load.items())

    def run_blocking(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Group, map in processes, and flatten; single items need no groups."""
        stream = importlib.import_module("streamable").stream(data)
        if self.chunksize == 1:
            return list(stream.map(fn, concurrency=self.pool))
        return list(stream.group(self.chunksize).map(partial(_each, fn), concurrency=self.pool).flatten())


class Aiomultiprocess(Contender):
    """`aiomultiprocess.Pool.map`, the only peer that awaits coroutine functions in processes; it moves single items.

    Its workers and its pool ask 200 times a second whether there is work.
    """

    name = "aiomultiprocess, tuned"
    needs = "aiomultiprocess"
    coroutines = True
    restless = True
    concurrency, queues = 16, 1

    async def tune(self, load: Load) -> str:
        """Try how many items a worker runs at once, with one queue for all and with one for each worker."""
        sizes = (256, 16) if asyncio.iscoroutinefunction(load.fn) else (16, 1)
        candidates = [(size, queues) for queues in (1, self.workers) for size in sizes]
        (self.concurrency, self.queues), tried = await best_of([], partial(self._attempt, load), candidates)
        return f"{self.concurrency} at once, {self.queues} queues, the best of {tried} tried"

    async def _attempt(self, load: Load, settings: tuple[int, int]) -> None:
        self.concurrency, self.queues = settings
        await self.start()
        try:
            await self.run(load.fn, load.items())
        finally:
            await self.close()

    async def start(self) -> None:
        """Start all workers."""
        library = importlib.import_module("aiomultiprocess")
        library.set_start_method(start_context().get_start_method())
        self.pool = library.Pool(self.workers, childconcurrency=self.concurrency, queuecount=self.queues)

    async def run(self, fn: Fn, data: Iterable[Any]) -> list[Any]:
        """Map a coroutine function; a plain one is called within one."""
        results: list[Any] = await self.pool.map(fn if asyncio.iscoroutinefunction(fn) else partial(_called, fn), data)
        return results

    async def close(self) -> None:
        """Wait for the workers to end."""
        self.pool.close()
        await self.pool.join()


class Gather(Contender):
    """No pool: `asyncio.gather` of all coroutines in this process."""

    name = "plain gather, no processes"
    coroutines = True

    async def open(self) -> None:
        """Nothing is cold."""

    async def run(self, fn: Callable[[Any], Coroutine[Any, Any, Any]], data: Iterable[Any]) -> list[Any]:
        """Gather."""
        return await asyncio.gather(*[fn(item) for item in data])


def _chunks(size: int | None) -> str:
    return "chunks of its own choice" if size is None else f"chunks of {size:,}"


def _each(fn: Fn, items: list[Any]) -> list[Any]:
    return [fn(item) for item in items]


async def _called(fn: Fn, item: Any) -> Any:
    return fn(item)
