"""Watch runs from the inside: eight small uses of hooks, each on real work, the files of Python's standard library.

Progress, metrics, stage times, errors, a monitoring system, throughput, a dashboard, and hooks of both colours side by
side while two of them hang. Each function is one use, and stands alone.

    python examples/hooks_demo.py
"""

from __future__ import annotations

import asyncio
import bz2
import logging
import sys
import sysconfig
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from amorsize_async import (
    AsyncExecutor,
    HookContext,
    HookEvent,
    HookManager,
    create_error_hook,
    create_progress_hook,
    create_throughput_hook,
    create_timing_hook,
)

SIZES = range(10_000, 60_000)
"""Of the files to work on, in bytes."""

PRE, POST, CHUNK = HookEvent.PRE_EXECUTE, HookEvent.POST_EXECUTE, HookEvent.ON_CHUNK_COMPLETE


def shrink(path: Path) -> float:
    """Compress a file as far as it goes: a few milliseconds of work. Gives the share of its bytes that is left."""
    data = path.read_bytes()
    return len(bz2.compress(data)) / max(1, len(data))


@cache
def library() -> Sequence[Path]:
    """All files of the standard library that are neither tiny nor huge."""
    root = Path(sysconfig.get_path("stdlib"))
    own = (path for path in root.rglob("*.py") if "site-packages" not in path.parts)
    return sorted(path for path in own if path.stat().st_size in SIZES)


def files(count: int) -> Sequence[Path]:
    """So many of them."""
    return library()[:count]


# ── 1: progress ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def progress(executor: AsyncExecutor) -> list[tuple[float, int, int]]:
    """Report how far a run is. Gives every report: percent, items done, items in all."""
    hooks, reports = HookManager(), list[tuple[float, int, int]]()

    def show(percent: float, completed: int, total: int) -> None:
        reports.append((percent, completed, total))

    hooks.register(PRE, lambda context: print(f"1 progress: {context.total_items} files for {context.n_jobs} workers"))
    hooks.register(HookEvent.ON_PROGRESS, create_progress_hook(show, min_interval=0.0))
    await executor.execute(shrink, files(100), hooks=hooks)
    print(f"  {len(reports)} reports, from {reports[0][0]:.0f} % to {reports[-1][0]:.0f} %")
    return reports


# ── 2: metrics ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def metrics(executor: AsyncExecutor) -> dict[str, Any]:
    """Keep the numbers of a run. Gives them."""
    hooks, kept = HookManager(), dict[str, Any]()

    @hooks.on(PRE)
    def begin(context: HookContext) -> None:
        kept.update(start_time=context.timestamp, n_jobs=context.n_jobs)
        kept.update(chunksize=context.chunksize, total_items=context.total_items)

    @hooks.on(POST)
    def end(context: HookContext) -> None:
        kept.update(end_time=context.timestamp, elapsed_time=context.elapsed_time)
        kept.update(throughput=context.throughput_items_per_sec, items_completed=context.items_completed)

    await executor.execute(shrink, files(200), hooks=hooks)
    print(
        f"2 metrics: {kept['items_completed']} files in {kept['elapsed_time']:.2f} s, {kept['throughput']:.0f} a second"
    )
    return kept


# ── 3: times of the stages ───────────────────────────────────────────────────────────────────────────────────────────


async def timing(executor: AsyncExecutor) -> dict[str, float]:
    """Note when a run begins and ends. Gives seconds since the beginning, by event."""
    hooks, times = HookManager(), dict[str, float]()
    hooks.register({PRE, POST}, create_timing_hook(times.__setitem__))
    await executor.execute(shrink, files(150), hooks=hooks)
    print(f"3 timing: {', '.join(f'{event} at {seconds:.3f} s' for event, seconds in times.items())}")
    return times


# ── 4: errors ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Trouble:
    """The results that came all the same, failures of hooks by event, and failed items with their tracebacks."""

    results: list[float]
    hook_errors: dict[str, int]
    item_errors: list[tuple[BaseException, str]] = field(default_factory=list)


async def errors(executor: AsyncExecutor) -> tuple[Trouble, Trouble]:
    """Run with a broken hook, which changes nothing, and then with a missing file, which is told of. Gives both."""
    return await _troubled(executor, files(50)), await _troubled(executor, [*files(49), Path("no such file.py")])


async def _troubled(executor: AsyncExecutor, paths: Sequence[Path]) -> Trouble:
    hooks, failed = HookManager(), list[tuple[BaseException, str]]()

    @hooks.on(PRE)
    def broken(_context: HookContext) -> None:
        raise ValueError("this hook is broken")

    hooks.register(HookEvent.ON_ERROR, create_error_hook(lambda error, traceback: failed.append((error, traceback))))
    results = await executor.execute(shrink, paths, hooks=hooks, return_exceptions=True)
    print(f"4 errors: {len(results)} results, {len(failed)} failed items{''.join(f', {e!r}' for e, _ in failed)}")
    return Trouble(results, hooks.get_stats()["error_counts"], failed)


# ── 5: a monitoring system ───────────────────────────────────────────────────────────────────────────────────────────


class Monitoring:
    """Stands for the client of a monitoring system: keeps what it would send."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, float, Mapping[str, object]]] = []

    async def send(self, name: str, value: float, **tags: object) -> None:
        """Send one number: a real client would wait for the network here, and hold nobody up."""
        await asyncio.sleep(0)
        self.sent.append((name, value, tags))


async def monitoring(executor: AsyncExecutor) -> Monitoring:
    """Send four numbers of a run to a monitoring system. Gives its client."""
    hooks, client = HookManager(), Monitoring()

    @hooks.on(PRE)
    async def started(context: HookContext) -> None:
        await client.send("parallel_execution.started", 1, n_jobs=context.n_jobs, chunksize=context.chunksize)

    @hooks.on(POST)
    async def completed(context: HookContext) -> None:
        await client.send("parallel_execution.completed", 1, n_jobs=context.n_jobs, items=context.items_completed)
        await client.send("parallel_execution.duration_seconds", context.elapsed_time)
        await client.send("parallel_execution.throughput", context.throughput_items_per_sec, unit="items/s")

    await executor.execute(shrink, files(100), hooks=hooks)
    print(f"5 monitoring: sent {', '.join(name.rpartition('.')[2] for name, _, _ in client.sent)}")
    return client


# ── 6: throughput ────────────────────────────────────────────────────────────────────────────────────────────────────


async def throughput(executor: AsyncExecutor) -> list[float]:
    """Report how fast a run was. Gives the one report: items per second."""
    hooks, rates = HookManager(), list[float]()
    hooks.register(POST, create_throughput_hook(rates.append, min_interval=0.0))
    await executor.execute(shrink, files(200), hooks=hooks)
    print(f"6 throughput: {rates[0]:.0f} files a second")
    return rates


# ── 7: a dashboard ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Dashboard:
    """What a dashboard shows of one run. history: every status it had."""

    status: str = "pending"
    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[str] = field(default_factory=lambda: ["pending"])

    def show(self, status: str, **numbers: object) -> None:
        """Show a new status and new numbers."""
        self.status = status
        self.history.append(status)
        self.metrics.update(numbers)


async def dashboard(executor: AsyncExecutor) -> Dashboard:
    """Keep a dashboard up to date. Gives it as it stands in the end."""
    hooks, board = HookManager(), Dashboard()

    @hooks.on(PRE)
    async def begin(context: HookContext) -> None:
        about = {key: context.metadata[key] for key in ("executor_type", "estimated_speedup")}
        plan = {"n_jobs": context.n_jobs, "chunksize": context.chunksize, "total_items": context.total_items}
        board.show("running", start_time=context.timestamp, **plan, **about)

    @hooks.on(POST)
    async def end(context: HookContext) -> None:
        done = {"items_completed": context.items_completed, "completion_percent": context.percent_complete}
        speed = {"duration": context.elapsed_time, "throughput": context.throughput_items_per_sec}
        board.show(
            "completed" if context.status == "ok" else context.status, end_time=context.timestamp, **done, **speed
        )

    await executor.execute(shrink, files(150), hooks=hooks)
    print(f"7 dashboard: {' -> '.join(board.history)}, {board.metrics['completion_percent']:.0f} %")
    return board


# ── 8: both colours, and two hooks that hang ─────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class SideBySide:
    """The chunks each good hook was told of, in order; results of the run; what is known of each hook, by its name."""

    awaited: list[int | None] = field(default_factory=list)
    plain: list[int | None] = field(default_factory=list)
    results: list[float] = field(default_factory=list)
    hooks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


async def side_by_side(executor: AsyncExecutor, never: threading.Event) -> SideBySide:
    """Run with an async and a plain hook, and one of each that waits for what never happens. Gives what was seen."""
    hooks, seen = HookManager(), SideBySide()

    @hooks.on(CHUNK)
    async def awaited(context: HookContext) -> None:
        seen.awaited.append(context.chunk_id)

    @hooks.on(CHUNK)
    def plain(context: HookContext) -> None:
        seen.plain.append(context.chunk_id)

    @hooks.on(CHUNK, timeout=0.1)
    async def hangs(_context: HookContext) -> None:
        await asyncio.Event().wait()

    @hooks.on(CHUNK, timeout=0.1)
    def hangs_in_a_thread(_context: HookContext) -> None:
        never.wait()

    seen.results = await executor.execute(shrink, files(60), hooks=hooks)
    seen.hooks = hooks.get_stats()["hooks"]
    print(f"8 side by side: {len(seen.results)} results; {len(seen.awaited)} chunks for the async hook,", end=" ")
    print(f"{len(seen.plain)} for the plain one; timeouts: {seen.hooks['hangs_in_a_thread']['timeouts']} in a thread")
    return seen


# ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class OneLine(logging.Formatter):
    """Shows what the library logs about hooks that fail, without their tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        """Indent the message."""
        return f"  logged: {record.getMessage()}"


async def main() -> None:
    """Show all eight on one executor; the last leaves a thread behind that never ends, and holds nobody up."""
    shown = logging.StreamHandler(sys.stdout)
    shown.setFormatter(OneLine())
    logging.getLogger("amorsize_async.hooks").addHandler(shown)
    async with AsyncExecutor() as executor:
        for demonstration in (progress, metrics, timing, errors, monitoring, throughput, dashboard):
            await demonstration(executor)
        await side_by_side(executor, threading.Event())


if __name__ == "__main__":
    asyncio.run(main())
