"""Where calls run, and how a checked call becomes a run there: its function packed, its list or stream made.

Shared by everything that calls: an `AsyncExecutor`, threads, and anybody's executor.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, TypedDict, TypeVar, cast

from . import _payload, _system
from ._arena import Arena, Arenas
from ._bus import EventBus
from ._call import Call, checked_number
from ._chunking import MAX_CHUNK_BYTES, MAX_CHUNK_BYTES_IN_PIPES, ChunkSizer
from ._configured_hooks import hooks_of_process
from ._coroutines import is_async_callable
from ._costs import CostMemory
from ._narrator import Narrator
from ._parcel import Bundle
from ._parts import give_way
from ._payload import PackedFunction
from ._results import Collector, Outlet, Sink
from ._run import FLUSH_SECONDS_CANCELLED, Run
from ._run_options import RunOptions
from ._shielding import finish
from ._source import open_source
from ._stand_ins import MAIN_MODULES
from ._stored import stowed
from ._stream import ResultStream
from ._threads import in_thread
from ._wakeup import woken_by_signals
from .backends import Pool
from .hooks import HookManager
from .report import Report, Tally

__all__ = (
    "About",
    "Engine",
    "about_call",
    "collect",
    "configured_managers",
    "open_stream",
    "tell_cancelled",
    "told_if_cancelled",
)

S = TypeVar("S")

STREAM_CHUNKS = 16
# Chunks per worker that a stream may have dispatched and not consumed when no `buffersize` is given: about half a
# second of work, enough to hide a slow item in an ordered stream, little enough to stop soon after a `break`.


@dataclass(frozen=True, slots=True)
class Engine:
    """Where calls run: a pool, the hooks that get every run of it, what it knows of costs, how it cancels and gives up.

    n_jobs: workers of a call that does not say how many; None: all that the pool has.
    close: ends a pool that was opened for one call, None if the pool outlives it.
    """

    pool: Pool
    costs: CostMemory
    managers: tuple[HookManager, ...] = ()
    cancel_grace: float = 0.1
    max_item_deaths: int = 2
    n_jobs: int | None = None
    close: Callable[[], Awaitable[None]] | None = None


async def configured_managers() -> tuple[HookManager, ...]:
    """The hooks that the environment or pyproject.toml name, read in a thread; see `configured_hooks`."""
    return await in_thread(hooks_of_process)


async def collect(engine: Engine, call: Call) -> tuple[list[Any], Report]:
    """Run a call to its end; gives all values in input order, and the report."""
    collector = Collector()
    report = await _drive(engine, call, collector, most=None)
    return collector.values, report


def open_stream(
    opened: Callable[[], Awaitable[Engine]], call: Call, *, ordered: bool, buffersize: int | None
) -> ResultStream[Any]:
    """A stream of a call's values; `opened` gives the engine, when the stream is first used."""
    checked_number("buffersize", buffersize)
    outlet = Outlet(ordered=ordered, buffersize=buffersize)

    async def drive() -> None:
        engine = await opened()
        workers = _workers(engine, call)
        outlet.allow(STREAM_CHUNKS * workers)
        # Small enough that the window holds two chunks for each worker.
        most = None if buffersize is None else max(1, buffersize // (2 * workers))
        await _drive(engine, call, outlet, most=most)

    return ResultStream(outlet, drive, copy_context())


async def _drive(engine: Engine, call: Call, sink: Sink, *, most: int | None) -> Report:
    home: Arena | None = None
    try:
        with woken_by_signals():
            function, home = await told_if_cancelled(_begun(engine, call), call, lambda: about_call(engine, call))
            run = _run(engine, call, function, sink, most)
            try:
                return await run.drive()
            finally:
                engine.costs.remember(function.cost_key, run.sizer.costs)
    finally:
        try:
            if home is not None:
                await finish(in_thread(home.close))  # giving memory back takes 0.1 s a GiB
        finally:
            if engine.close is not None:
                await engine.close()


async def _begun(engine: Engine, call: Call) -> tuple[PackedFunction, Arena | None]:
    """All that comes before the run: what nobody could end is refused, the pool is ready, the function is packed."""
    if call.item_timeout is not None and not (engine.pool.kills or is_async_callable(call.fn)):
        raise ValueError(
            f"item_timeout={call.item_timeout}, but nobody can end an item that runs in a {engine.pool.name}; "
            "use workers of ours (executor=None or an AsyncExecutor), or a coroutine function"
        )
    if call.item_timeout is not None:
        await in_thread(_system.import_psutil)
    await engine.pool.warm()
    await engine.pool.enter()
    return await _packed(call.fn, engine.pool)


# ── a call that is cancelled before its run begins ───────────────────────────────────────────────────────────────────


class About(TypedDict):
    """What the hooks of a call are told that is cancelled before its run begins."""

    executor: str
    n_jobs: int
    managers: tuple[HookManager, ...]


async def told_if_cancelled(step: Coroutine[Any, Any, S], call: Call, about: Callable[[], About]) -> S:
    """A step before the run of a call; if that is cancelled meanwhile, its hooks are told: POST_EXECUTE alone."""
    try:
        return await step
    except asyncio.CancelledError:
        await finish(_tell_cancelled(call, **about()))
        raise


async def tell_cancelled(engine: Engine, call: Call) -> None:
    """Tell the hooks of a call that is cancelled before its run could begin: POST_EXECUTE alone."""
    await _tell_cancelled(call, **about_call(engine, call))


def about_call(engine: Engine, call: Call) -> About:
    """The same, where it is known what the call would have run on."""
    return About(executor=engine.pool.name, n_jobs=_workers(engine, call), managers=_managers(engine, call))


async def _tell_cancelled(call: Call, *, executor: str, n_jobs: int, managers: tuple[HookManager, ...]) -> None:
    name = _payload.function_name(call.fn)
    tally = Tally(n_jobs=n_jobs, tolerant=call.return_exceptions)
    bus = EventBus(managers, os.urandom(16).hex())
    narrator = Narrator(bus, tally, function=name, executor=executor)
    report = Report.of(tally, function=name, execution_id=bus.execution_id, status="cancelled", elapsed=0.0)
    narrator.end(report, "cancelled", None)
    await bus.aclose(bound=FLUSH_SECONDS_CANCELLED)


# ── the function ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def _packed(fn: Callable[..., Any], pool: Pool) -> tuple[PackedFunction, Arena | None]:
    """Pickle the function: on the loop if that is a name to look up, in a thread if it may hold anything.

    What is large in it lies in an arena of its own then, which is to be closed when nobody needs it any more.
    """
    if not pool.pickles or _is_a_name(fn):
        return _payload.pack_function(fn, pickled=pool.pickles), None
    return await in_thread(lambda: _packed_beside(fn, pool.arenas))


def _packed_beside(fn: Callable[..., Any], arenas: Arenas | None) -> tuple[PackedFunction, Arena | None]:
    function = _payload.pack_function(fn, out_of_band=arenas is not None and not arenas.refused, watch=give_way)
    if arenas is None or isinstance(function.pickled, bytes):
        return function, None
    arena = arenas.another()
    try:
        if arena is not None:
            bundle = stowed(function.pickled, arena.write)
            return replace(function, pickled=cast(Bundle, bundle), home=arena.address), arena
    except OSError as exc:
        arenas.refuse(str(exc))
    return _payload.pack_function(fn, watch=give_way), None


def _is_a_name(fn: Callable[..., Any]) -> bool:
    """Whether pickling `fn` writes its name and nothing else; a method of a built-in object takes that along."""
    if not isinstance(fn, FunctionType | BuiltinFunctionType | type) or "<" in fn.__qualname__:
        return False
    return fn.__module__ not in MAIN_MODULES and isinstance(getattr(fn, "__self__", None), ModuleType | None)


# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _run(engine: Engine, call: Call, function: PackedFunction, sink: Sink, most: int | None) -> Run:
    sizer = ChunkSizer(
        _workers(engine, call),
        chunksize=call.chunksize,
        most=most,
        costs=engine.costs.recall(function.cost_key),
        is_async=function.is_async,
        max_bytes=MAX_CHUNK_BYTES_IN_PIPES if engine.pool.arenas is None else MAX_CHUNK_BYTES,
    )
    options = RunOptions(
        call.n_jobs or engine.n_jobs,
        call.return_exceptions,
        call.retry,
        call.item_timeout,
        engine.cancel_grace,
        engine.max_item_deaths,
    )
    return Run(
        function,
        open_source(call.data),
        pool=engine.pool,
        sink=sink,
        sizer=sizer,
        options=options,
        managers=_managers(engine, call),
    )


def _workers(engine: Engine, call: Call) -> int:
    return min(call.n_jobs or engine.n_jobs or engine.pool.capacity, engine.pool.capacity)


def _managers(engine: Engine, call: Call) -> tuple[HookManager, ...]:
    return tuple(dict.fromkeys((*engine.managers, *call.managers)))
