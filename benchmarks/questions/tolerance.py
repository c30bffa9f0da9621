"""What it costs to survive faults that do not come: clean runs, against bare `run_in_executor` over the same chunks."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psutil

from amorsize_async import HookContext, HookEvent, HookManager

from ..answers import Answer, Promise, Settings, Table
from ..contenders import ExecutorMap, Fn, Ours
from ..loads import Load, burning
from ..race import opened

__all__ = ("ask",)

CHUNKSIZE = 20
"""Of the runs with chunks of one size: 20 ms of work, about what the library chooses for such items."""
PAIRS = 11
"""As for the hooks' cost: a ratio has to be known to a hundredth, on machines that waver by more."""

Kinds = dict[str, Callable[[], Awaitable[Any]]]
Laps = dict[str, list[tuple[float, float]]]
"""Of each kind: seconds of each run, and CPU seconds of this process and all workers, which others disturb less."""
SAME, SIZED, AGAIN = "chunks of one size", "chunks as the library sizes them", "bare over bare: the machine alone"


async def ask(settings: Settings) -> Answer:
    """Run items of 1 ms in rounds: ours and bare with chunks of one size, and with those that ours chose last."""
    load = Load("items of 1 millisecond", burning(1e-3), range(400 if settings.quick else 2_000))
    ours, bare = Ours(settings.workers), Bare(settings.workers)
    chosen = Chunks()
    pieces = [load.data[start : start + CHUNKSIZE] for start in range(0, len(load.data), CHUNKSIZE)]
    kinds: Kinds = {
        f"ours, {SAME}": lambda: ours.executor.execute(load.fn, load.data, chunksize=CHUNKSIZE),
        f"bare, {SAME}": lambda: bare.run_pieces(load.fn, pieces),
        f"ours, {SIZED}": lambda: ours.executor.execute(load.fn, load.data, hooks=chosen.hooks),
        f"bare, {SIZED}": lambda: bare.run_pieces(load.fn, chosen.cut(load.data)),
        AGAIN: lambda: bare.run_pieces(load.fn, pieces),
    }
    async with opened([ours, bare]):
        await _check(load, kinds)
        laps = await _rounds(kinds, max(5 if settings.quick else PAIRS, settings.rounds))
    pairs = {
        SAME: (f"ours, {SAME}", f"bare, {SAME}"),
        SIZED: (f"ours, {SIZED}", f"bare, {SIZED}"),
        AGAIN: (AGAIN, f"bare, {SAME}"),
    }
    ratios = {what: _ratios(laps[mine], laps[its]) for what, (mine, its) in pairs.items()}
    return Answer([_table(load, ratios)], _promises(ratios), [{"laps": laps, "chunks": len(chosen.cut(load.data))}])


class Bare(ExecutorMap):
    """One `ProcessPoolExecutor` that gets whole chunks, all at once; nothing is watched, and a fault ends all."""

    name = "bare run_in_executor"

    async def run_pieces(self, fn: Fn, pieces: Sequence[Sequence[Any]]) -> list[Any]:
        """Run `fn` over each piece in one call; results in input order."""
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(*[loop.run_in_executor(self.pool, _run_piece, fn, piece) for piece in pieces])
        return [value for values in results for value in values]


def _run_piece(fn: Fn, items: Sequence[Any]) -> list[Any]:
    return [fn(item) for item in items]


class Chunks:
    """Remembers the chunks of the last run that its hooks were given to."""

    def __init__(self) -> None:
        self.hooks = HookManager()
        self._sizes: dict[int, int] = {}
        self.hooks.register({HookEvent.PRE_EXECUTE, HookEvent.ON_CHUNK_COMPLETE}, self._note)

    async def _note(self, context: HookContext) -> None:
        if context.event is HookEvent.PRE_EXECUTE:
            self._sizes.clear()
        else:
            self._sizes[context.metadata["start"]] = context.chunk_size or 0

    def cut(self, data: Sequence[Any]) -> list[Sequence[Any]]:
        """The same chunks again, in input order."""
        return [data[start : start + size] for start, size in sorted(self._sizes.items())]


async def _check(load: Load, kinds: Kinds) -> None:
    """One round that does not count: nothing is cold after it, and all have given the same."""
    expected = await asyncio.to_thread(lambda: [load.fn(item) for item in load.data])
    for kind, run in kinds.items():
        if await run() != expected:
            raise AssertionError(f"{kind}: other results than a plain loop")


async def _rounds(kinds: Kinds, rounds: int) -> Laps:
    """Run each kind once in every round, one after the other; who leads changes."""
    laps: Laps = {kind: [] for kind in kinds}
    names = list(kinds)
    for number in range(rounds):
        lead = number % len(names)
        for kind in [*names[lead:], *names[:lead]]:
            gc.collect()
            cpu, began = _cpu_seconds(), time.perf_counter()
            await kinds[kind]()
            laps[kind].append((time.perf_counter() - began, _cpu_seconds() - cpu))
    return laps


def _cpu_seconds() -> float:
    """CPU seconds so far of this process and all that came of it; those that only wait add nothing."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in [me, *me.children(recursive=True)])


def _ratios(mine: Sequence[tuple[float, float]], its: Sequence[tuple[float, float]]) -> list[list[float]]:
    """Ratios within each round: of the seconds, and of the CPU seconds."""
    pairs = [(ours, bare) for ours, bare in zip(mine, its, strict=True)]
    return [[ours[which] / bare[which] for ours, bare in pairs] for which in (0, 1)]


def _table(load: Load, ratios: dict[str, list[list[float]]]) -> Table:
    rows = []
    for what, (seconds, cpu) in ratios.items():
        title = what if what is AGAIN else f"ours over bare, {what}"
        rows += [[title, *_spread(seconds), "time"], [title, *_spread(cpu), "CPU time of all processes"]]
    columns = ("what", "median", "least", "most", "of")
    notes = ["ratios of runs side by side; warm pools of as many workers, started the same way"]
    return Table(f"{len(load.data):,} {load.name}, no faults", columns, rows, notes)


def _spread(values: Sequence[float]) -> list[str]:
    return [f"{statistics.median(values):.3f}", f"{min(values):.3f}", f"{max(values):.3f}"]


def _promises(ratios: dict[str, list[list[float]]]) -> list[Promise]:
    return [
        Promise(f"a clean run over bare run_in_executor, {what}", statistics.median(ratios[what][0]), 1.03)
        for what in (SAME, SIZED)
    ]
