"""One execution, from PRE_EXECUTE to POST_EXECUTE: takes items, sends chunks, hands out what comes back.

The only place with a task group, and the only one that calls `run_in_executor`.

    source.fill/take ─► sizer says how many ─► pool.acquire ─► run_in_executor(run_chunk, Chunk) ─► ChunkReply
          ▲                                                                                             │
          └── sink.room ◄── the consumer ◄── sink.put ◄── sizer.observe, tally, narrator ◄──────────────┘
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

from ._bus import EventBus
from ._chunking import ChunkSizer, Observation
from ._narrator import Narrator
from ._payload import PackedFunction
from ._results import Sink
from ._sharing import Share
from ._shielding import finish
from ._source import Source
from ._stopwatch import Stopwatch
from ._wire import Batch, FailedItem, Job, Loaded, crash_error, failed_items, job_for, load_values, suspects
from ._worker import ChunkReply, send_singly
from .backends import Flight, Place, Pool
from .errors import AmorsizeError, ExecutorClosedError
from .events import Status
from .hooks import HookManager
from .report import Report, Tally

__all__ = ("Run", "RunOptions")

KEPT_FAILURES = 1000
# Failures that a report lists; more of them are only counted, since each holds its exception.

FLUSH_SECONDS = 5.0
FLUSH_SECONDS_CANCELLED = 1.0
# How long the end of a run waits for hooks that are behind.

UNEXPLAINED_DEATHS = 3
# Workers that may die with a batch while on none of its items, before the batch is given up.


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the caller asked for.

    n_jobs: the most workers at once, None for all.
    return_exceptions: failed items stand in the results as exceptions. cancel_grace: seconds that running items get
    when the execution is cancelled.
    """

    n_jobs: int | None = None
    return_exceptions: bool = False
    cancel_grace: float = 0.1


class _Stop(Exception):  # noqa: N818 - never leaves this module: ends the task group when the outcome is known
    """Ends a run early; what to raise is noted in the run."""


class Run:
    """One execution of a function over an input. `drive` is its whole life and is called once."""

    def __init__(
        self,
        function: PackedFunction,
        source: Source,
        *,
        pool: Pool,
        sink: Sink,
        sizer: ChunkSizer,
        options: RunOptions,
        managers: Sequence[HookManager],
    ) -> None:
        self.function = function
        self.sizer = sizer
        self._source = source
        self._pool = pool
        self._sink = sink
        self._options = options
        self._managers = managers
        self._share = pool.join(options.n_jobs)
        self._share.steady = sizer.costs is not None
        self._tally = Tally(
            n_jobs=pool.workers(self._share),
            total=source.total,
            tolerant=options.return_exceptions,
            is_async=function.is_async,
        )
        self._flights: set[Flight] = set()
        self._outcome: BaseException | None = None
        self._failed_at: int | None = None

    def __repr__(self) -> str:
        done = f"{self._tally.completed} of {self._tally.total} items"
        return f"<Run {self.function.name} {done}, {len(self._flights)} chunks out>"

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def drive(self) -> Report:
        """Run to the end; raises the first failure, or what cancelled it, after everything is cleaned up."""
        execution_id = os.urandom(16).hex()
        bus = EventBus(self._managers, execution_id)
        self._narrator = Narrator(
            bus, self._tally, execution_id=execution_id, function=self.function.name, executor=self._pool.name
        )
        status: Status = "error"
        error: BaseException | None = None
        try:
            await self._open()
            await self._dispatch()
            status = "ok"
        except asyncio.CancelledError:
            status = "cancelled"
            raise
        except BaseException as exc:
            error = exc
            raise
        finally:
            report = await finish(self._close(status, error))
        return report

    async def _open(self) -> None:
        """PRE_EXECUTE and its hooks, while the workers start; no item runs before."""
        wanted = self._share.limit if self._tally.total is None else self._tally.total
        self._pool.prepare(self._share, wanted)
        self._tally.chunksize = self._size()
        self._narrator.pre_execute()
        await self._narrator.bus.barrier()

    async def _dispatch(self) -> None:
        """Everything between PRE and POST; what the tasks of the group raise comes out as itself."""
        self._task = asyncio.current_task()
        self._cancellations = self._task.cancelling() if self._task else 0
        try:
            async with asyncio.TaskGroup() as self._group:
                await self._feed()
        except BaseExceptionGroup as group:
            unexpected = group.split(_Stop)[1]
            if unexpected is not None:
                raise _innermost(unexpected) from None
        outcome = self._outcome or self._source.error
        if outcome is not None:
            raise outcome

    async def _close(self, status: Status, error: BaseException | None) -> Report:
        """Stop what still runs, say so, and let the hooks catch up; bounded, and done on every path."""
        for place in await self._pool.abandon(self._flights, self._options.cancel_grace):
            if place.pid is not None:
                self._narrator.worker_gone(place.pid, "killed")
        self._pool.leave(self._share)
        await self._source.aclose()
        if status == "ok":
            self._tally.total = self._tally.completed
        report = Report.of(
            self._tally,
            function=self.function.name,
            execution_id=self._narrator.execution_id,
            status=status,
            elapsed=self._narrator.elapsed,
        )
        self._sink.ended(report)
        self._narrator.end(report, status, error)
        await self._narrator.bus.aclose(bound=FLUSH_SECONDS_CANCELLED if status == "cancelled" else FLUSH_SECONDS)
        return report

    # ── out: items become chunks ─────────────────────────────────────────────────────────────────────────────────────

    async def _feed(self) -> None:
        """Take items as places become free, until there are no more or an item has failed."""
        while self._failed_at is None and await self._items_ready():
            began = time.monotonic()
            place = await self._place()
            self._waited("workers", began)
            batch = self._next_batch()
            if batch is None:
                self._pool.give_back(place, self._share)
                return
            self._send(batch, place)

    async def _items_ready(self) -> bool:
        began = time.monotonic()
        if self._sink.room() == 0:
            await self._sink.wait_for_room()
            began = self._waited("consumer", began)
        ready = await self._source.fill(self._size())
        self._waited("input", began)
        return ready

    def _next_batch(self) -> Batch | None:
        """The next items, as many as seem right now; None if there are none, or none are wanted any more."""
        if self._failed_at is not None:
            return None
        start = self._source.taken
        items = self._source.take(self._size())
        if not len(items):
            return None
        self._tally.chunksize = len(items)
        self._tally.total = self._source.total
        self._sink.dispatched(len(items))
        return Batch(start, items)

    def _size(self) -> int:
        """Items of the next chunk: what the sizer says, within the room that the consumer leaves."""
        total = self._source.total
        size = self.sizer.next_size(None if total is None else max(0, total - self._source.taken))
        room = self._sink.room()
        return size if room is None else max(1, min(size, room))

    async def _place(self) -> Place:
        """A place for one chunk; that there is none, and will be none, ends the run."""
        try:
            return await self._pool.acquire(self._share)
        except AmorsizeError as exc:
            self._fail(exc)

    def _send(self, batch: Batch, place: Place) -> None:
        self._tally.sent(self._narrator.elapsed)
        self._group.create_task(self._carry_or_stop(batch, place), name="amorsize-chunk")

    async def _send_again(self, batch: Batch, *, split: bool = False) -> None:
        """Send items that were not run: their worker died or had no more time, or needs them in another form.

        `split`: they were part of a chunk whose other part goes its own way.
        """
        if len(batch.items):
            if split:
                self._sink.dispatched(0)
            self._send(batch, await self._place())

    # ── a chunk, there and back ──────────────────────────────────────────────────────────────────────────────────────

    async def _carry_or_stop(self, batch: Batch, place: Place) -> None:
        """Carry a batch; that nobody but its task is cancelled, by a hook on the loop, cancels the run.

        The task group takes a cancelled task for a finished one, and the results of its chunk would be missing.
        """
        try:
            await self._carry(batch, place)
        except asyncio.CancelledError as exc:
            cancelling = self._task.cancelling() if self._task else 0
            if cancelling == self._cancellations and self._outcome is None:
                self._fail(exc)
            raise

    async def _carry(self, batch: Batch, place: Place) -> None:
        """Take one batch to its place, wait for the reply, hand on what came of it."""
        watch = Stopwatch()
        if place.pid is not None:
            self._narrator.worker_seen(place.pid)
        stride = self.sizer.stride()
        job = job_for(
            batch,
            self.function,
            pickled=place.pickled,
            known=self.function.digest in place.known,
            cell=place.cell,
            stride=stride,
            stop=not self._options.return_exceptions,
            budget=self.sizer.budget,
        )
        watch.transfer()
        reply = await self._fly(place, job.call, *job.args, watch=watch)
        if isinstance(reply, BaseException):
            await self._worker_died(batch, place, stride, reply)
        elif reply.refused:
            place.known.discard(self.function.digest)
            await self._send_again(replace(batch, singly=batch.singly or reply.refused == "items"))
        else:
            place.known.add(self.function.digest)
            await self._take_home(batch, reply, job, place, watch)

    async def _take_home(self, batch: Batch, reply: ChunkReply, job: Job, place: Place, watch: Stopwatch) -> None:
        """Unpack a reply, enter it into the books, deliver its values, and send on what the worker did not get to."""
        loaded = load_values(reply) or await self._sent_singly(reply, job, place, watch)
        values, unloadable = loaded
        failures = failed_items(reply, batch, job.unsendable, unloadable)
        watch.transfer()
        self._account(batch, reply, failures)
        self._deliver(batch, values, failures)
        self._observe(reply, watch)
        await self._send_again(batch.part(reply.done, len(batch.items)), split=True)

    async def _fly(self, place: Place, *call: Any, watch: Stopwatch) -> Any:
        """Run a call in the place and wait for what it returns; an exception: the place broke, meanwhile or before."""
        share, pool = self._share, self._pool
        try:
            future = asyncio.get_running_loop().run_in_executor(place.executor, *call)
        except (RuntimeError, OSError) as exc:  # broken or closed executors refuse; OSError: no process can be started
            pool.give_back(place, share)
            return exc
        flight = (place, future)
        self._flights.add(flight)
        future.add_done_callback(partial(_landed, pool, place, share))
        watch.pause()
        await asyncio.wait((future,))
        watch.go_on()
        self._flights.discard(flight)
        broken = future.exception()
        return future.result() if broken is None else broken

    async def _sent_singly(self, reply: ChunkReply, job: Job, place: Place, watch: Stopwatch) -> Loaded:
        """Results that did not unpickle whole, one by one, from the worker that has them still."""
        self._pool.hold(place, self._share)
        parcel = await self._fly(place, send_singly, job.ticket, watch=watch)
        again = replace(reply, values=parcel if isinstance(parcel, list) else reply.values, kept=False)
        return load_values(again) or ([None] * reply.done, {})

    def _account(self, batch: Batch, reply: ChunkReply, failures: list[FailedItem]) -> None:
        """Enter a reply into the books and tell of it."""
        tally = self._tally
        self._narrator.worker_seen(reply.pid)
        tally.chunks += 1
        tally.work += reply.item_seconds
        tally.cpu += reply.cpu_seconds
        tally.bytes_in += reply.bytes_in
        tally.bytes_out += reply.bytes_out
        tally.peak_rss = max(tally.peak_rss, reply.peak_rss)
        tally.items_run += reply.done
        tally.workers[reply.pid] += reply.done
        tally.count(reply.done, self._narrator.elapsed)
        for failed in failures:
            self._note_failure(failed)
        self._narrator.chunk_complete(batch, reply, failures)
        self._narrator.progress()

    def _note_failure(self, failed: FailedItem) -> None:
        self._tally.failed += 1
        if len(self._tally.failures) < KEPT_FAILURES:
            self._tally.failures.append((failed.index, failed.exception))

    def _deliver(self, batch: Batch, values: list[Any], failures: list[FailedItem]) -> None:
        """Hand values to the consumer; a failure stands among them, or ends the run."""
        if failures and not self._options.return_exceptions:
            first = failures[0]
            del values[first.index - batch.start :]
            if self._failed_at is None or first.index < self._failed_at:
                self._failed_at, self._outcome = first.index, first.exception
        for failed in failures if self._options.return_exceptions else ():
            values[failed.index - batch.start] = failed.exception
        if values:
            self._sink.put(batch.start, values)
        if self._failed_at is not None and self._sink.delivered_up_to(self._failed_at):
            raise _Stop

    def _observe(self, reply: ChunkReply, watch: Stopwatch) -> None:
        """Let the sizer and the books learn what the chunk cost the loop."""
        watch.overhead()
        self._share.steady = True
        self._tally.transfer += watch.transfer_seconds
        self._tally.overhead += watch.overhead_seconds
        self.sizer.observe(
            Observation(
                items=reply.done,
                seconds=reply.seconds,
                cpu_seconds=reply.cpu_seconds,
                bytes_in=reply.bytes_in,
                bytes_out=reply.bytes_out,
                transfer_seconds=watch.transfer_seconds,
                overhead_seconds=watch.overhead_seconds,
            )
        )

    # ── a death ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _worker_died(self, batch: Batch, place: Place, stride: int, cause: BaseException) -> None:
        """Blame the item that the dead worker was on, and run the innocent ones again."""
        blamed = suspects(place.cell, batch, stride, is_async=self.function.is_async)
        exitcode = await self._bury(place)
        if blamed:
            await self._send_again(batch.part(0, blamed.start), split=True)
            await self._send_again(batch.part(blamed.stop, len(batch.items)), split=True)
        if len(blamed) == 1:
            self._item_killed(batch, blamed[0], place, exitcode)
        elif blamed:
            for offset in blamed:
                await self._send_again(batch.part(offset, offset + 1, exact=True), split=offset > blamed.start)
        elif place.pid is None or batch.deaths + 1 >= UNEXPLAINED_DEATHS:
            error = crash_error(place.pid, None, exitcode, f"before it ran any of the items from {batch.start} on")
            error.__cause__ = cause
            self._fail(error)
        else:
            await self._send_again(replace(batch, deaths=batch.deaths + 1))

    async def _bury(self, place: Place) -> int | None:
        if self._pool.closed:
            self._fail(ExecutorClosedError("the executor was closed while its workers were busy with this call"))
        known = place in self._pool.places
        exitcode = await self._pool.lost_place(place)
        if known and place.pid is not None:
            self._tally.lost += 1
            self._narrator.worker_gone(place.pid, "crashed", exitcode=exitcode)
        return exitcode

    def _item_killed(self, batch: Batch, offset: int, place: Place, exitcode: int | None) -> None:
        index = batch.start + offset
        failed = FailedItem(index, crash_error(place.pid, index, exitcode, f"while it ran item {index}"), "")
        self._tally.count(1, self._narrator.elapsed)
        self._note_failure(failed)
        self._narrator.item_killed(failed, place.pid)
        self._narrator.progress()
        self._deliver(batch.part(offset, offset + 1), [None], [failed])

    # ── small things ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _fail(self, exc: BaseException) -> NoReturn:
        """End the run with `exc`."""
        self._failed_at, self._outcome = -1, exc
        raise _Stop

    def _waited(self, what: str, since: float) -> float:
        now = time.monotonic()
        self._tally.waited[what] += now - since
        return now


def _landed(pool: Pool, place: Place, share: Share, future: asyncio.Future[Any]) -> None:
    """Give the place back when a call there has really ended, whether or not anybody still waits for it."""
    failed = future.cancelled() or future.exception() is not None
    pool.release(place, share, 0.0 if failed else getattr(future.result(), "seconds", 0.0))


def _innermost(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception of a group that is not a group itself: a lone exception keeps its type."""
    exc: BaseException = group
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc
