"""The books of one execution: what came back and what it cost, what the consumer gets, and how the run is to end.

No task, no worker and no clock of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ._chunk import ChunkReply
from ._chunking import ChunkSizer
from ._costs import Observation
from ._narrator import Narrator
from ._results import Sink
from ._retries import settled
from ._stopwatch import Stopwatch
from ._wire import Batch, FailedItem
from .report import Tally

__all__ = ("Books",)

KEPT_FAILURES = 1000
# Failures that a report lists; more of them are only counted, since each holds its exception.


class Books:
    """What is known of an execution so far. tolerant: failed items stand in the results as exceptions.

    outcome: what the execution is to raise, None if it goes well; failed_at: the index that it is about, -1 for none.
    """

    def __init__(self, tally: Tally, sink: Sink, sizer: ChunkSizer, *, tolerant: bool) -> None:
        self.tally = tally
        self.narrator: Narrator
        self.outcome: BaseException | None = None
        self.failed_at: int | None = None
        self._sink = sink
        self._sizer = sizer
        self._tolerant = tolerant

    def __repr__(self) -> str:
        return f"<Books {self.tally.completed} of {self.tally.total} items, outcome={self.outcome!r}>"

    @property
    def over(self) -> bool:
        """Whether the consumer has got everything before the failure that ends the execution."""
        return self.failed_at is not None and self._sink.delivered_up_to(self.failed_at)

    def wants(self, batch: Batch) -> bool:
        """Whether the results of a batch are still to be delivered: those before the failure are."""
        return self.failed_at is None or batch.start < self.failed_at

    def end_with(self, outcome: BaseException) -> None:
        """Note that the execution ends at once, with this."""
        self.failed_at, self.outcome = -1, outcome

    def account(self, batch: Batch, reply: ChunkReply, failures: Sequence[FailedItem], again: Sequence[Batch]) -> None:
        """Enter a reply and tell of it; `failures`: those that are final, `again`: items that are tried again."""
        tally, retried = self.tally, sum(len(part.items) for part in again)
        if reply.pid not in tally.workers:  # its end may have been told by now
            self.narrator.worker_seen(reply.pid)
        tally.chunks += 1
        tally.work += reply.item_seconds
        tally.cpu += reply.cpu_seconds
        tally.bytes_in += reply.bytes_in
        tally.bytes_out += reply.bytes_out
        tally.moving += reply.moving_seconds
        tally.peak_rss = max(tally.peak_rss, reply.peak_rss)
        tally.items_run += reply.done
        tally.retried += retried
        tally.workers[reply.pid] += reply.done
        tally.count(reply.done - retried, self.narrator.elapsed)
        for failed in failures:
            self._note_failure(failed)
        self.narrator.chunk_complete(batch, reply, failures, retried)
        self.narrator.progress()

    def give_up(self, item: Batch, exc: Exception, pid: int | None) -> None:
        """Enter the failure of an item that has no reply of its own, since its worker is gone, and deliver it."""
        failed = FailedItem(item.start, exc, "")
        self.tally.count(1, self.narrator.elapsed)
        self._note_failure(failed)
        self.narrator.item_killed(failed, pid)
        self.narrator.progress()
        self.deliver(item, [None], [failed], ())

    def deliver(
        self, batch: Batch, values: list[Any], failures: Sequence[FailedItem], again: Sequence[Batch], size: int = 0
    ) -> None:
        """Hand values, which came in `size` bytes, to the consumer; a failure stands among them, or ends the run."""
        done = len(values)
        for failed in failures if self._tolerant else ():
            values[failed.index - batch.start] = failed.exception
        if failures and not self._tolerant:
            first = failures[0]
            done = first.index - batch.start
            if self.failed_at is None or first.index < self.failed_at:
                self.failed_at, self.outcome = first.index, first.exception
        pieces = settled(batch, len(values), again)
        for _ in range(len(pieces) + len(again) - 1):
            self._sink.dispatched(0)
        for start, end in pieces:
            whole = (start, min(end, done)) == (0, len(values))
            if piece := values if whole else values[start : min(end, done)]:
                self._sink.put(batch.start + start, piece, size * len(piece) // len(values))

    def learn(self, reply: ChunkReply, watch: Stopwatch) -> None:
        """Let the sizer and the tally know what a chunk cost the loop."""
        watch.overhead()
        self.tally.transfer += watch.transfer_seconds
        self.tally.moving += watch.beside_seconds
        self.tally.overhead += watch.overhead_seconds
        self._sizer.observe(
            Observation(
                items=reply.done,
                seconds=reply.seconds,
                cpu_seconds=reply.cpu_seconds,
                bytes_in=reply.bytes_in,
                bytes_out=reply.bytes_out,
                bytes_copied=reply.bytes_copied,
                transfer_seconds=watch.transfer_seconds + watch.beside_seconds,
                overhead_seconds=watch.overhead_seconds,
            )
        )

    def _note_failure(self, failed: FailedItem) -> None:
        self.tally.failed += 1
        if len(self.tally.failures) < KEPT_FAILURES:
            self.tally.failures.append((failed.index, failed.exception))
