"""Tells the hooks what happens in one execution: fills each context from the tally, with measured numbers only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ._bus import EventBus
from ._chunk import ChunkReply
from ._texts import message_of, traceback_of
from ._wire import Batch, FailedItem
from .events import HookContext, HookEvent, Status
from .report import Report, Tally

__all__ = ("Narrator",)


class Narrator:
    """One execution's story. Building a context costs microseconds, so none is built that nobody wants."""

    def __init__(self, bus: EventBus, tally: Tally, *, function: str, executor: str) -> None:
        self.bus = bus
        self._tally = tally
        self.execution_id = bus.execution_id
        self._function = function
        self._executor = executor
        self._sequence = 0
        self._chunks = 0
        self._present: dict[int, tuple[int, float]] = {}
        self.began = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the execution began."""
        return time.monotonic() - self.began

    def pre_execute(self) -> None:
        """The execution begins; no item has run."""
        self.began = time.monotonic()
        if self.bus.pre_execute:
            expected = float(min(self._tally.n_jobs, self._tally.total or self._tally.n_jobs))
            self._tell(HookEvent.PRE_EXECUTE, metadata=self._about(max(1.0, expected)))

    def has_seen(self, pid: int) -> bool:
        """Whether this worker works for the execution now."""
        return pid in self._present

    def worker_seen(self, pid: int) -> None:
        """A worker begins to work for this execution: told once per process, before its first chunk."""
        if pid in self._present:
            return
        self._present[pid] = (0, 0.0)
        self._tally.workers.setdefault(pid, 0)
        if self.bus.on_worker_start:
            self._tell(HookEvent.ON_WORKER_START, worker_id=pid)

    def chunk_complete(self, batch: Batch, reply: ChunkReply, failures: Sequence[FailedItem], retried: int) -> None:
        """A chunk has ended in a worker, and its numbers are already in the tally.

        failures: items of it that failed. retried: how many more of it failed, and are tried again: those have no
        outcome yet, and the chunk in which they get it counts them.
        """
        if reply.pid in self._present:
            items, seconds = self._present[reply.pid]
            self._present[reply.pid] = (items + reply.done, seconds + reply.seconds)
        chunk_id, self._chunks = self._chunks, self._chunks + 1
        size = reply.done - retried
        for failed in failures:
            self._error(failed, reply.pid, chunk_id, size, reply.seconds)
        if self.bus.on_chunk_complete:
            metadata = {"start": batch.start, "cpu_time": reply.cpu_seconds, "bytes_in": reply.bytes_in}
            self._tell(
                HookEvent.ON_CHUNK_COMPLETE,
                worker_id=reply.pid,
                chunk_id=chunk_id,
                chunk_size=size,
                chunk_time=reply.seconds,
                metadata={**metadata, "bytes_out": reply.bytes_out, "peak_rss": reply.peak_rss},
            )

    def item_killed(self, failed: FailedItem, pid: int | None) -> None:
        """One item ended its worker: a chunk by itself, with a number of its own, that never completes."""
        chunk_id, self._chunks = self._chunks, self._chunks + 1
        self._error(failed, pid, chunk_id, 1)

    def progress(self) -> None:
        """The numbers moved. The last one, with 100 percent, is told by `end`, exactly once."""
        if self.bus.on_progress and self._tally.completed != self._tally.total:
            self._tell(HookEvent.ON_PROGRESS)

    def _error(
        self, failed: FailedItem, pid: int | None, chunk_id: int, chunk_size: int, chunk_time: float = 0.0
    ) -> None:
        if self.bus.on_error:
            self._tell(
                HookEvent.ON_ERROR,
                worker_id=pid,
                chunk_id=chunk_id,
                chunk_size=chunk_size,
                chunk_time=chunk_time,
                error=failed.exception,
                error_message=message_of(failed.exception),
                error_traceback=failed.traceback or traceback_of(failed.exception),
                metadata={"item_index": failed.index},
            )

    def worker_gone(self, pid: int, reason: str, **details: Any) -> None:
        """A worker works for this execution no more: it died, was killed, or the execution is over."""
        items, seconds = self._present.pop(pid, (0, 0.0))
        if self.bus.on_worker_end:
            numbers = {"reason": reason, "items": items, "busy_time": seconds}
            self._tell(HookEvent.ON_WORKER_END, worker_id=pid, metadata={**numbers, **details})

    def end(self, report: Report, status: Status, error: BaseException | None) -> None:
        """The last progress, the end of each worker that is left, and POST_EXECUTE."""
        # Of an empty input nothing else is ever done.
        percent = 100.0 if status == "ok" else self._tally.percent
        if self.bus.on_progress and status == "ok":
            self._tell(HookEvent.ON_PROGRESS, percent_complete=percent)
        for pid in list(self._present):
            self.worker_gone(pid, "cancelled" if status == "cancelled" else "finished")
        if self.bus.post_execute:
            elapsed = self.elapsed
            self._tell(
                HookEvent.POST_EXECUTE,
                status=status,
                percent_complete=percent,
                elapsed_time=elapsed,
                throughput_items_per_sec=report.items / max(elapsed, 1e-9),
                results_count=report.items if status == "ok" else 0,
                error=error,
                error_message=None if error is None else message_of(error),
                error_traceback=None if error is None else traceback_of(error),
                metadata={**self._about(report.speedup), "report": report},
            )

    def _about(self, speedup: float) -> dict[str, Any]:
        return {"executor_type": self._executor, "estimated_speedup": speedup, "function": self._function}

    def _tell(self, event: HookEvent, **fields: Any) -> None:
        tally = self._tally
        remaining = tally.remaining / tally.rate if tally.rate else 0.0
        common: dict[str, Any] = {
            "n_jobs": tally.n_jobs,
            "chunksize": tally.chunksize,
            "total_items": tally.total,
            "items_completed": tally.completed,
            "items_remaining": tally.remaining,
            "percent_complete": tally.percent,
            "elapsed_time": self.elapsed if event is not HookEvent.PRE_EXECUTE else 0.0,
            "estimated_time_remaining": remaining,
            "throughput_items_per_sec": tally.rate,
            "avg_item_time": tally.item_seconds,
            "worker_count": len(self._present),
            "results_size_bytes": tally.bytes_out,
            "execution_id": self.execution_id,
            "sequence": self._sequence,
        }
        self._sequence += 1
        self.bus.emit(HookContext(event, **{**common, **fields}))
