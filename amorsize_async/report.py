"""What happened in an execution, measured: the tally that is kept while it runs, and the report made from it; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from ._report_html import table_html

__all__ = ("Report", "Tally")

MEMORY_SECONDS = 1.0
MEMORY_REPLIES = 10
# What the throughput that progress shows looks back on, whichever is longer: short enough to follow a change, long
# enough for replies of long items, which come in bursts of one from each worker.

WAITING_SHARE = 0.5
# A coroutine function that computes for less than this share of its time is limited by what it waits for.

COSTLY_TRANSFER = 1.0
# Warn when moving the items took more than this share of the work in the workers.


@dataclass(slots=True)
class Tally:
    """The running numbers of one execution; seconds are monotonic and count from its PRE_EXECUTE.

    total: items of the input, None if unknown. completed: items with an outcome. tolerant: failed items count as done,
    since their exceptions stand among the results. is_async: the function gives coroutines.
    work, cpu: seconds inside the function, summed over the workers. transfer, overhead: seconds of the loop.
    moving: seconds of threads beside the loop, and of the workers, that went into the payload.
    waited: seconds that dispatch waited, by what it waited for ("input", "workers", "consumer").
    bytes_in, bytes_out: bytes of payload to the workers and home. peak_rss: bytes, of the largest worker. rate: items a
    second, smoothed. workers: pid of each worker, or native id of each thread, to the items that it ran. lost: workers
    that died. items_run: items that workers ran, second attempts included.
    """

    n_jobs: int
    total: int | None = None
    tolerant: bool = True
    is_async: bool = False
    completed: int = 0
    failures: list[tuple[int, BaseException]] = field(default_factory=list)
    failed: int = 0
    chunks: int = 0
    chunksize: int = 1
    work: float = 0.0
    cpu: float = 0.0
    transfer: float = 0.0
    moving: float = 0.0
    overhead: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    peak_rss: int = 0
    rate: float = 0.0
    workers: dict[int, int] = field(default_factory=dict)
    lost: int = 0
    items_run: int = 0
    retried: int = 0
    waited: dict[str, float] = field(default_factory=lambda: {"input": 0.0, "workers": 0.0, "consumer": 0.0})
    warnings: list[str] = field(default_factory=list)
    _last: float | None = None
    _recent_items: float = 0.0
    _recent_seconds: float = 0.0

    def sent(self, elapsed: float) -> None:
        """Note that a chunk is sent: throughput counts from the first one on, not from hooks and starting workers."""
        if self._last is None:
            self._last = elapsed

    def count(self, items: int, elapsed: float) -> None:
        """Note `items` more outcomes, `elapsed` seconds after the start; keeps the smoothed throughput.

        Items and seconds fade alike, and only then is one divided by the other: the second of two replies that come
        together adds items and no time, instead of a throughput of millions.
        """
        self.completed += items
        span = elapsed - (self._last or 0.0)
        self._last = elapsed
        kept = max(math.exp(-span / MEMORY_SECONDS), 1 - 1 / MEMORY_REPLIES)
        self._recent_items = kept * self._recent_items + items
        self._recent_seconds = kept * self._recent_seconds + span
        self.rate = self._recent_items / max(self._recent_seconds, 1e-9)

    @property
    def percent(self) -> float:
        """Percent of the items that are done, 100 at most; 0.0 while their number is unknown."""
        done = self.completed if self.tolerant else self.completed - self.failed
        return min(100.0, 100.0 * done / self.total) if self.total else 0.0  # a `__len__` may tell too little

    @property
    def remaining(self) -> int:
        """Items without an outcome yet; 0 while their number is unknown."""
        return max(0, self.total - self.completed) if self.total is not None else 0

    @property
    def item_seconds(self) -> float:
        """Worker seconds per item."""
        return self.work / self.items_run if self.items_run else 0.0

    def limited_by(self, elapsed: float) -> str:
        """What kept the execution from being faster: what its dispatch waited for longest, or the loop itself."""
        if self.cpu < WAITING_SHARE * self.work and self.is_async:
            return "awaiting"
        moving = self.transfer + self.moving
        if moving + self.overhead > max(elapsed / 2, self.work / max(1, len(self.workers))):
            return "payload" if moving > self.overhead else "parent"
        return max(self.waited, key=lambda what: self.waited[what]) if any(self.waited.values()) else "workers"


@dataclass(frozen=True, slots=True)
class Report:
    """What an execution did, as it was measured; times in seconds, sizes in bytes.

    items: items with an outcome. failed: of these, the ones that failed. total_items: None if the input never ended.
    status: "ok", "error" or "cancelled". n_jobs: workers it might use. workers: pid to items run, for each it did use;
    where workers are threads, the native id of the thread. chunks: how many; chunksize: items of the last one.
    elapsed: wall time, hooks included. work_seconds and cpu_seconds: time in the function, summed over the workers.
    parent_seconds: time the event loop spent on it.
    moving_seconds: time that threads beside the loop, and the workers, spent on moving items and results.
    speedup: work_seconds over elapsed. efficiency: speedup over the workers used. bytes_in, bytes_out: sent to the
    workers, and back. workers_lost: workers that died. retried: second and later attempts that `retry` made. failures:
    (index, exception), by index, of at most the first 1,000. execution_id: as in the contexts of hooks.
    peak_worker_rss: memory of the largest worker at its peak; 0 where the system does not tell. warnings: what made it
    slower than need be, in words.
    limited_by: "workers" (they were busy: more of them would help), "input", "consumer", "payload", "parent", or
    "awaiting" (coroutines that wait for something else). For a coroutine function, the work is the sum of its items'
    times, which overlap: the speedup is over awaiting one after the other.
    """

    function: str
    execution_id: str
    status: str
    items: int
    failed: int
    total_items: int | None
    n_jobs: int
    workers: dict[int, int]
    workers_lost: int
    chunks: int
    chunksize: int
    elapsed: float
    work_seconds: float
    cpu_seconds: float
    parent_seconds: float
    moving_seconds: float
    bytes_in: int
    bytes_out: int
    peak_worker_rss: int
    limited_by: str
    retried: int = 0
    failures: tuple[tuple[int, BaseException], ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, tally: Tally, *, function: str, execution_id: str, status: str, elapsed: float) -> Report:
        """Close the books of `tally`."""
        return cls(
            function=function,
            execution_id=execution_id,
            status=status,
            items=tally.completed,
            failed=tally.failed,
            total_items=tally.total,
            n_jobs=tally.n_jobs,
            workers=dict(tally.workers),
            workers_lost=tally.lost,
            chunks=tally.chunks,
            chunksize=tally.chunksize,
            elapsed=elapsed,
            work_seconds=tally.work,
            cpu_seconds=tally.cpu,
            parent_seconds=tally.transfer + tally.overhead,
            moving_seconds=tally.moving,
            bytes_in=tally.bytes_in,
            bytes_out=tally.bytes_out,
            peak_worker_rss=tally.peak_rss,
            limited_by=tally.limited_by(elapsed),
            retried=tally.retried,
            failures=tuple(sorted(tally.failures, key=lambda failure: failure[0])),
            warnings=(*tally.warnings, *_advice(tally)),
        )

    @property
    def speedup(self) -> float:
        """How many times the work fits into the wall time: what one worker without any overhead would have taken."""
        return self.work_seconds / self.elapsed if self.elapsed else 0.0

    @property
    def efficiency(self) -> float:
        """The speedup per worker used, 1.0 at best."""
        return self.speedup / max(1, len(self.workers))

    def explain(self) -> str:
        """The report in plain words, a few lines of text."""
        title = (
            f"{self.function}: {self.items:,} items, {self.failed:,} failed, {_seconds(self.elapsed)} ({self.status})"
        )
        return "\n".join([title, *(f"  {label:<9} {text}" for label, text in self._rows())])

    def _rows(self) -> list[tuple[str, str]]:
        """What to say about the run, line by line: a label, and the facts."""
        busy = self.parent_seconds / max(self.elapsed, 1e-9)
        moved = f"{_bytes(self.bytes_in)} to the workers, {_bytes(self.bytes_out)} back"
        rows = [
            ("work", f"{_seconds(self.work_seconds)} in {len(self.workers)} of {self.n_jobs} workers"),
            ("speedup", f"{self.speedup:.2f}, efficiency {self.efficiency:.0%}"),
            ("chunks", f"{self.chunks:,}, the last of {self.chunksize:,} items"),
            ("moved", f"{moved}, {_seconds(self.moving_seconds)} beside the loop"),
            ("loop", f"{_seconds(self.parent_seconds)} busy with it, {busy:.1%} of the time"),
            ("limit", _LIMITS[self.limited_by]),
        ]
        if self.workers_lost:
            rows.append(("deaths", f"{self.workers_lost} of its workers died and were replaced"))
        if self.retried:
            rows.append(("retries", f"{self.retried:,} attempts more than items"))
        rows += [("failed", f"item {index}: {type(exc).__name__}") for index, exc in self.failures[:5]]
        rows += [("note", warning) for warning in self.warnings]
        return rows

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data for JSON: exceptions become the names of their types, speedup is included."""
        data: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        data["failures"] = [(index, type(exc).__name__) for index, exc in self.failures]
        data["warnings"] = list(self.warnings)
        return {**data, "speedup": self.speedup, "efficiency": self.efficiency}

    def _repr_html_(self) -> str:
        """Shown by notebooks: a small table."""
        items = f"{self.items:,} in {_seconds(self.elapsed)}, {self.failed:,} failed"
        return table_html(self.function, self.status, [("items", items), *self._rows()])


_LIMITS = {
    "workers": "the workers: they were busy all the time, more of them would help",
    "input": "the input: workers waited for its next items",
    "consumer": "the consumer: results waited to be taken",
    "payload": "the payload: moving items and results took longer than computing them",
    "awaiting": "what the coroutines wait for: more workers would not help",
    "parent": "the event loop: handing out chunks took most of its time",
}


def _advice(tally: Tally) -> list[str]:
    if tally.transfer + tally.moving > COSTLY_TRANSFER * max(tally.work, 1e-3) and tally.chunks:
        return ["moving the items costs more than computing them: send less, or do more per item"]
    return []


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms"


def _bytes(value: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value} bytes"
