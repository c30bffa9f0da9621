"""What a chunk and an item cost the parent, how many workers it can feed, and a projection to more than are here."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..answers import Answer, Settings, Table
from ..contenders import Contender, ExecutorMap, Ours, PoolMap
from ..loads import next_number
from ..row_functions import NAP, sleep
from ..simulation import Costs, simulated

__all__ = ("ask",)

WORKERS = (2, 8, 32, 128)
NAPS = 100
"""Chunks of 20 ms of the run at ease."""

CHUNKS_EACH = 100
"""Chunks of each worker in the projection: its start and its end then weigh little."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one contender pays; all in seconds.

    pressed: parent's CPU for a chunk when they come as fast as they can. at_ease: when workers sleep 20 ms over each,
    the call's own cost taken off. item: parent's CPU for an item of a large trivial run, its chunks' cost taken off.
    round_trip: wall time of one call on idle workers. napped: wall time of the run at ease, which the model must meet.
    """

    name: str
    pressed: float
    at_ease: float
    item: float
    round_trip: float
    napped: float

    @property
    def chunk(self) -> float:
        """The dearer of both: the projection shall not flatter."""
        return max(self.pressed, self.at_ease)

    @property
    def model(self) -> Costs:
        """Constants of the simulation: half of the chunk's cost on each way, and the rest of the round trip."""
        latency = max(0.0, self.round_trip - self.chunk) / 2
        return Costs(send=self.chunk / 2, collect=self.chunk / 2, latency=latency)


async def ask(settings: Settings) -> Answer:
    """Measure each contender alone, with chunks of one item; then put what was measured into the model."""
    kinds: list[tuple[type[Contender], Mapped]] = [(Ours, _ours), (ExecutorMap, _executor_map), (PoolMap, _pool_map)]
    scale = 5 if settings.quick else 1
    costs = [await _cost(kind(settings.workers), mapped, settings.rounds, scale) for kind, mapped in kinds]
    tables = [_table(costs, scale), _projection(costs, settings.workers)]
    return Answer(tables, (), [_numbers(cost) for cost in costs])


# ── measured ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Mapped = Callable[[Any, Callable[[int], int], Sequence[int], int | None], Awaitable[Any]]
"""Runs a function over items in chunks of one size; None: of the contender's own choice."""


def _ours(contender: Ours, fn: Callable[[int], int], data: Sequence[int], chunksize: int | None) -> Awaitable[Any]:
    return contender.executor.execute(fn, data, chunksize=chunksize)


def _executor_map(
    contender: ExecutorMap, fn: Callable[[int], int], data: Sequence[int], chunksize: int | None
) -> Awaitable[Any]:
    """It has no size of its own choice: a hundred chunks stand for it."""
    size = chunksize or len(data) // 100
    return asyncio.to_thread(lambda: list(contender.pool.map(fn, data, chunksize=size)))


def _pool_map(
    contender: PoolMap, fn: Callable[[int], int], data: Sequence[int], chunksize: int | None
) -> Awaitable[Any]:
    return asyncio.to_thread(contender.pool.map, fn, data, chunksize)


async def _cost(contender: Contender, mapped: Mapped, rounds: int, scale: int) -> Cost:
    many, few, items = list(range(5_000 // scale)), list(range(NAPS)), list(range(1_000_000 // scale))
    run = partial(mapped, contender)
    await contender.open()
    try:
        pressed = await _least(rounds, lambda: run(next_number, many, 1))
        at_ease = await _least(rounds, lambda: run(sleep, few, 1))
        whole = await _least(rounds, lambda: run(next_number, items, None))
        single = await _least(50, lambda: run(next_number, [1], 1))
    finally:
        await contender.close()
    chunk = pressed[0] / len(many)
    chunks = contender.report.chunks if isinstance(contender, Ours) and hasattr(contender, "report") else 0
    return Cost(
        name=contender.name,
        pressed=chunk,
        at_ease=max(0.0, at_ease[0] - single[0]) / len(few),
        item=max(0.0, whole[0] - chunks * chunk) / len(items),
        round_trip=single[1],
        napped=at_ease[1],
    )


async def _least(rounds: int, run: Callable[[], Awaitable[Any]]) -> tuple[float, float]:
    """CPU seconds of this process with all its threads, and wall seconds: the least of the rounds, after a first run.

    What else happens on the machine can only add to them.
    """
    await run()
    laps: list[tuple[float, float]] = []
    for _ in range(max(3, rounds)):
        gc.collect()
        cpu, began = time.process_time(), time.perf_counter()
        await run()
        laps.append((time.process_time() - cpu, time.perf_counter() - began))
    return min(lap[0] for lap in laps), min(lap[1] for lap in laps)


# ── told ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _table(costs: Sequence[Cost], scale: int) -> Table:
    rows = [
        [
            cost.name,
            f"{cost.pressed * 1e6:.0f}",
            f"{cost.at_ease * 1e6:.0f}",
            f"{cost.item * 1e9:.0f}",
            f"{cost.round_trip * 1e6:.0f}",
            f"{NAP / cost.chunk:.0f}",
        ]
        for cost in costs
    ]
    columns = (
        "contender",
        "us a chunk, pressed",
        "us a chunk, at ease",
        "ns an item",
        "us a round trip",
        "workers it can feed with chunks of 20 ms",
    )
    notes = [
        "CPU time of the parent, all its threads, the least of the rounds; chunks of one item: trivial, or 20 ms",
        f"an item: of {1_000_000 // scale:,} trivial ones, chunks as they come; for ours without their chunks' cost",
        "workers it can feed: 20 ms over the dearer of both chunk costs",
    ]
    return Table("what the parent pays", columns, rows, notes)


def _projection(costs: Sequence[Cost], here: int) -> Table:
    rows = []
    for workers in WORKERS:
        seen = [simulated(workers, workers * CHUNKS_EACH, NAP, cost.model) for cost in costs]
        rows.append([str(workers), *(f"{each.efficiency:.2f}" for each in seen), ""])
    checks = [
        f"{cost.name}: the model's time over the measured one, {here} workers: {_model_check(cost, here):.2f}"
        for cost in costs
    ]
    notes = ["not measured: a simulation of one parent and chunks of 20 ms, with the costs above", *checks]
    columns = ("workers", *(cost.name for cost in costs), "")
    return Table("efficiency, projected", columns, rows, notes)


def _model_check(cost: Cost, workers: int) -> float:
    return simulated(workers, NAPS, NAP, cost.model).seconds / cost.napped


def _numbers(cost: Cost) -> dict[str, Any]:
    projected = {str(workers): simulated(workers, workers * CHUNKS_EACH, NAP, cost.model) for workers in WORKERS}
    return {
        "contender": cost.name,
        "pressed": cost.pressed,
        "at_ease": cost.at_ease,
        "item": cost.item,
        "round_trip": cost.round_trip,
        "projected_efficiency": {workers: each.efficiency for workers, each in projected.items()},
        "projected_parent": {workers: each.parent for workers, each in projected.items()},
    }
