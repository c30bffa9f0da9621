"""What hooks cost: events that nobody hears, events to one hook, a run with six hooks, a run where two hang."""

from __future__ import annotations

import asyncio
import gc
import logging
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from amorsize_async import AsyncExecutor, HookContext, HookEvent, HookManager, Report, create_progress_hook
from amorsize_async._bus import EventBus

from ..answers import Answer, Promise, Settings, Table
from ..lag import Lag, Ticker
from ..loads import Load, burning

__all__ = ("ask",)

CHUNK = HookEvent.ON_CHUNK_COMPLETE
EVENTS, BATCH = 20_000, 500
"""A batch is less than may wait before a hook, so that none is dropped."""

GUARDS = 1_000_000
HANGING = "five hooks, two of them hang"
PAIRS = 9
"""Of runs with and without hooks: their ratio has to be known to a hundredth, on machines that waver by more."""


async def ask(settings: Settings) -> Answer:
    """Time single events on the loop, then pairs of runs, then the loop's lag beside hooks that hang."""
    pairs = max(5, settings.rounds) if settings.quick else max(PAIRS, settings.rounds)
    scale = 5 if settings.quick else 1
    load = Load("items of 1 millisecond", burning(1e-3), range(2_000 // scale))
    guard = await _guard(settings.rounds)
    making = _median_of(settings.rounds, lambda: _per_event(_contexts, EVENTS))
    emits = {mode: await _emits(mode, settings.rounds) for mode in ("async", "thread", "inline")}
    async with AsyncExecutor(settings.workers) as executor:
        seconds = await _pairs(executor, load, pairs)
        lags, late = await _beside_hanging_hooks(executor, load, settings.rounds)
    ratios = [hooked / bare for bare, hooked in zip(seconds["bare"], seconds["hooked"], strict=True)]
    same = [again / bare for bare, again in zip(seconds["bare"], seconds["bare again"], strict=True)]
    tables = [_table_of_events(guard, making, emits), _table_of_runs(load, ratios, same), _table_of_lag(lags)]
    return Answer(tables, _promises(guard, emits, ratios, lags), [{"seconds": seconds, "flush_seconds": late}])


# ── single events ────────────────────────────────────────────────────────────────────────────────────────────────────


def _median_of(rounds: int, measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(max(3, rounds)))


def _per_event(work: Callable[[int], object], events: int) -> float:
    """Seconds of this thread's own time for each event: what other threads and processes take does not count."""
    began = time.thread_time()
    work(events)
    return (time.thread_time() - began) / events


async def _guard(rounds: int) -> float:
    """What an event costs that nobody listens to: the look whether anybody does."""
    bus = EventBus([HookManager()], "benchmark")

    def looks(number: int) -> None:
        for _ in range(number):
            if bus.on_chunk_complete:
                raise AssertionError

    def nothing(number: int) -> None:
        for _ in range(number):
            pass

    seconds = _median_of(rounds, lambda: _per_event(looks, GUARDS) - _per_event(nothing, GUARDS))
    await bus.aclose()
    return max(0.0, seconds)


def _contexts(number: int) -> list[HookContext]:
    """As a run makes them."""
    fields: dict[str, Any] = {
        "n_jobs": 2, "chunksize": 20, "total_items": 2000, "items_completed": 20, "items_remaining": 1980,
        "percent_complete": 1.0, "elapsed_time": 0.1, "estimated_time_remaining": 9.9,
        "throughput_items_per_sec": 200.0, "avg_item_time": 0.001, "worker_id": 4711, "worker_count": 2,
        "chunk_id": 0, "chunk_size": 20, "chunk_time": 0.02, "results_size_bytes": 90, "execution_id": "benchmark",
    }  # fmt: skip
    return [HookContext(CHUNK, sequence=sequence, metadata={}, **fields) for sequence in range(number)]


async def _emits(mode: str, rounds: int) -> tuple[float, float]:
    """Seconds on the loop for one event to one hook: of `emit` alone, and with what the hook's lane does there."""
    alone, whole = [], []
    for _ in range(max(3, rounds)):
        hooks, called = HookManager(), [0]

        def plain(_context: HookContext, called: list[int] = called) -> None:
            called[0] += 1

        async def awaited(_context: HookContext, called: list[int] = called) -> None:
            called[0] += 1

        if mode == "async":
            hooks.register({CHUNK, HookEvent.PRE_EXECUTE}, awaited)
        else:
            hooks.register({CHUNK, HookEvent.PRE_EXECUTE}, plain, mode="thread" if mode == "thread" else "inline")
        emitting, began = 0.0, time.thread_time()
        bus, contexts = EventBus([hooks], "benchmark"), _contexts(BATCH)
        made = time.thread_time() - began
        for _ in range(EVENTS // BATCH):
            first = time.thread_time()
            for context in contexts:
                bus.emit(context)
            emitting += time.thread_time() - first
            await bus.barrier()
        await bus.aclose()
        if called[0] != EVENTS:
            raise AssertionError(f"{mode}: {called[0]} calls for {EVENTS} events")
        alone.append(emitting / EVENTS)
        whole.append((time.thread_time() - began - made) / EVENTS)
    return statistics.median(alone), statistics.median(whole)


def _table_of_events(guard: float, making: float, emits: dict[str, tuple[float, float]]) -> Table:
    rows = [
        ["nobody listens", f"{guard * 1e6:.3f}", "", "1.00"],
        ["a context is made", f"{making * 1e6:.2f}", "", f"{making / guard:,.0f}"],
    ]
    for mode, (alone, whole) in emits.items():
        rows.append([f"to one hook, {mode}", f"{alone * 1e6:.2f}", f"{whole * 1e6:.2f}", f"{whole / guard:,.0f}"])
    notes = [
        "the loop's own CPU time; the second column has all that a lane does on the loop, the hook's call included"
    ]
    return Table("one event, microseconds on the loop", ("what", "emit", "with its lane", "times nobody"), rows, notes)


# ── whole runs ───────────────────────────────────────────────────────────────────────────────────────────────────────


def six_hooks() -> HookManager:
    """Six hooks, two of each colour, one of each for everything: what a service with metrics, a log and a bar has."""
    hooks, counted = HookManager(), {"plain": 0, "awaited": 0, "inline": 0}
    shown: list[float] = []

    @hooks.on(HookEvent)
    def plain(_context: HookContext) -> None:
        counted["plain"] += 1

    @hooks.on(HookEvent)
    async def awaited(_context: HookContext) -> None:
        counted["awaited"] += 1

    @hooks.on(HookEvent, mode="inline")
    def inline(_context: HookContext) -> None:
        counted["inline"] += 1

    @hooks.on(CHUNK)
    async def label(context: HookContext) -> str:
        return f"chunk {context.chunk_id} of {context.chunk_size} items by {context.worker_id}"

    @hooks.on(CHUNK, mode="inline")
    def note(context: HookContext) -> None:
        shown.append(context.chunk_time)

    def show(percent: float, _completed: int, _total: int) -> None:
        shown.append(percent)

    hooks.register(HookEvent.ON_PROGRESS, create_progress_hook(show, min_interval=0.1))
    return hooks


async def _pairs(executor: AsyncExecutor, load: Load, pairs: int) -> dict[str, list[float]]:
    """Run with six hooks and without, in turn; a second time without tells how far two equal runs are apart."""
    kinds = ["bare", "hooked", "bare again"]
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(3):
        await _run(executor, load, None)
    for number in range(pairs):
        lead = number % len(kinds)
        for kind in [*kinds[lead:], *kinds[:lead]]:
            gc.collect()
            began = time.perf_counter()
            await _run(executor, load, six_hooks() if kind == "hooked" else None)
            seconds[kind].append(time.perf_counter() - began)
    return seconds


async def _run(executor: AsyncExecutor, load: Load, hooks: HookManager | None) -> Report:
    _, report = await executor.execute(load.fn, load.data, hooks=hooks, return_report=True)
    return report


def _table_of_runs(load: Load, ratios: list[float], same: list[float]) -> Table:
    def row(what: str, values: list[float]) -> list[str]:
        return [what, f"{statistics.median(values):.3f}", f"{min(values):.3f}", f"{max(values):.3f}"]

    rows = [row("six hooks over none", ratios), row("none over none", same)]
    notes = ["ratios of runs side by side; the second row is what the machine alone makes of equal runs"]
    return Table(f"{len(load.data):,} {load.name}", ("what", "median", "least", "most"), rows, notes)


# ── hooks that hang ──────────────────────────────────────────────────────────────────────────────────────────────────


def five_hooks(release: threading.Event) -> HookManager:
    """A good hook of each colour, the plain one slow, one of each that hangs, and one that raises."""
    hooks = HookManager()

    @hooks.on(CHUNK)
    async def awaited(_context: HookContext) -> None:
        await asyncio.sleep(0)

    @hooks.on(CHUNK)
    def plain(_context: HookContext) -> None:
        time.sleep(0.003)

    @hooks.on(CHUNK, timeout=0.1)
    async def hangs(_context: HookContext) -> None:
        await asyncio.Event().wait()

    @hooks.on(CHUNK, timeout=0.1)
    def hangs_in_a_thread(_context: HookContext) -> None:
        release.wait()

    @hooks.on(CHUNK)
    def raises(_context: HookContext) -> None:
        raise ConnectionError

    return hooks


async def _beside_hanging_hooks(executor: AsyncExecutor, load: Load, rounds: int) -> tuple[dict[str, Lag], list[float]]:
    """How late the loop is in a run with five such hooks, and in one without; and how long the run then waits."""
    release, late = threading.Event(), list[float]()
    ticks: dict[str, list[float]] = {HANGING: [], "no hooks": []}
    logging.getLogger("amorsize_async.hooks").disabled = True  # they fail on purpose
    for _ in range(max(2, rounds)):
        for kind in ticks:
            began = time.perf_counter()
            async with Ticker() as ticker:
                report = await _run(executor, load, five_hooks(release) if kind == HANGING else None)
            ticks[kind] += ticker.late
            if kind == HANGING:
                late.append(time.perf_counter() - began - report.elapsed)
    release.set()
    logging.getLogger("amorsize_async.hooks").disabled = False
    return {kind: Lag.of(ticked) for kind, ticked in ticks.items()}, late


def _table_of_lag(lags: dict[str, Lag]) -> Table:
    rows = [[kind, f"{lag.p50:.1f}", f"{lag.p99:.1f}", f"{lag.worst:.1f}"] for kind, lag in lags.items()]
    notes = ["a run without hooks has the lag of the machine whose cores are all busy"]
    return Table("lag of the loop in milliseconds", ("beside a run with", "p50", "p99", "worst"), rows, notes)


def _promises(
    guard: float, emits: dict[str, tuple[float, float]], ratios: list[float], lags: dict[str, Lag]
) -> list[Promise]:
    dearest = max(whole for _, whole in emits.values())
    return [
        Promise("nobody listens: nanoseconds an event", guard * 1e9, 50),
        Promise("an event to one hook, whatever its colour: microseconds on the loop", dearest * 1e6, 5),
        Promise("a run with six hooks over one without", statistics.median(ratios), 1.02),
        Promise("two hooks hang: lag p99 in ms", lags[HANGING].p99, 20),
    ]
