"""One execution, from PRE_EXECUTE to POST_EXECUTE: takes items, sends chunks, hands out what comes back.

The only place with a task group.

    source.fill/take ─► sizer says how many ─► traffic.place ─► traffic.send ─┄ chunks, there and back ┄─┐
          ▲                                                                                              │
          └── sink.room ◄── the consumer ◄── sink.put ◄── books: sizer, tally, narrator ◄────────────────┘
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from ._books import Books
from ._bus import EventBus
from ._chunking import ChunkSizer
from ._crew import Crew, unexpected
from ._narrator import Narrator
from ._payload import PackedFunction
from ._results import Sink
from ._run_options import RunOptions
from ._shielding import finish
from ._source import Source
from ._traffic import Traffic
from ._wire import Batch
from .backends import Place, Pool
from .errors import AmorsizeError, ExecutorClosedError
from .events import Status
from .hooks import HookManager
from .report import Report, Tally

__all__ = ("FLUSH_SECONDS_CANCELLED", "Run")

_logger = logging.getLogger("amorsize_async")

FLUSH_SECONDS = 5.0
FLUSH_SECONDS_CANCELLED = 1.0
# How long the end of a run waits for hooks that are behind.


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
        self._share = pool.join(options.n_jobs, self)
        self._share.steady = sizer.steady and options.item_timeout is None
        self._tally = Tally(
            n_jobs=pool.workers(self._share),
            total=source.total,
            tolerant=options.return_exceptions,
            is_async=function.is_async,
        )
        self._books = Books(self._tally, sink, sizer, tolerant=options.return_exceptions)
        self._crew = Crew(self._books)
        self._traffic = Traffic(
            function,
            pool=pool,
            share=self._share,
            sink=sink,
            sizer=sizer,
            books=self._books,
            crew=self._crew,
            options=options,
        )

    def __repr__(self) -> str:
        return f"<Run {self.function.name} {self._books!r} {self._traffic!r}>"

    def executor_closed(self) -> None:
        """See `backends.Member`."""
        self._crew.end(ExecutorClosedError("the executor was closed while this call ran"))

    def worker_gone(self, place: Place, reason: str) -> None:
        """See `backends.Member`."""
        self._traffic.worker_gone(place, reason)

    # ── its life ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def drive(self) -> Report:
        """Run to the end; raises the first failure, or what cancelled it, after everything is cleaned up."""
        bus = EventBus(self._managers, os.urandom(16).hex())
        self._narrator = Narrator(bus, self._tally, function=self.function.name, executor=self._pool.name)
        self._books.narrator = self._narrator
        status: Status = "error"
        error: BaseException | None = None
        try:
            await self._open()
            await self._dispatch()
            status = "ok"
        except asyncio.CancelledError:
            status = "cancelled"
            raise
        except BaseException as exc:  # only noted, for POST_EXECUTE
            error = exc
            raise
        finally:
            self._source.stop()  # at once: a loop that ends cancels even the task that is to finish
            report = await finish(self._close(status, error))
        return report

    async def _open(self) -> None:
        """PRE_EXECUTE and its hooks, while the workers start; no item runs before."""
        await self._source.open()
        self._tally.total = self._source.total
        wanted = self._share.limit if self._tally.total is None else self._tally.total
        self._pool.prepare(self._share, wanted)
        self._tally.chunksize = self._size()
        self._narrator.pre_execute()
        await self._narrator.bus.barrier()

    async def _dispatch(self) -> None:
        """Everything between PRE and POST; what the tasks of the group raise comes out as itself."""
        try:
            async with asyncio.TaskGroup() as group:
                self._crew.open(group)
                await self._feed()
                await self._traffic.all_sent()
                # Not left to the group: one that cancels us while it leaves does not take it back on 3.11 and 3.12.
                await self._crew.done()
        except BaseExceptionGroup as group:
            others = unexpected(group)
            if others is not None:
                raise _innermost(others) from None
        outcome = self._books.outcome if self._books.outcome is not None else self._source.error
        if outcome is not None:
            raise outcome
        self._check_nothing_is_missing()

    def _check_nothing_is_missing(self) -> None:
        """Raise if fewer values came than items were taken: a fault of ours, and better told of than a short list."""
        received, taken = self._sink.received, self._source.taken
        if received != taken:
            raise AmorsizeError(
                f"{received} results came of {taken} items, which is a fault of amorsize_async itself; "
                "please report it, with the traceback and what fn and data are"
            )

    async def _close(self, status: Status, error: BaseException | None) -> Report:
        """Stop what still runs, say so, and let the hooks catch up; bounded, and done on every path."""
        await _outlasted(self._traffic.close())
        self._pool.leave(self._share)
        await _outlasted(self._traffic.clear_away())
        self._tally.warnings += self._pool.complaints
        await _outlasted(self._source.aclose())
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
        try:
            self._narrator.end(report, status, error)
        finally:
            await self._narrator.bus.aclose(bound=FLUSH_SECONDS_CANCELLED if status == "cancelled" else FLUSH_SECONDS)
        return report

    # ── out: items become chunks ─────────────────────────────────────────────────────────────────────────────────────

    async def _feed(self) -> None:
        """Take items as places become free, until there are no more or an item has failed."""
        while self._books.failed_at is None and await self._items_ready():
            began = time.monotonic()
            place = await self._traffic.place()
            self._waited("workers", began)
            batch = self._next_batch(place.left)
            if batch is None:
                self._pool.give_back(place, self._share)
                return
            if self._traffic.send(batch, place):
                await asyncio.sleep(0)

    async def _items_ready(self) -> bool:
        began = time.monotonic()
        room = self._sink.room()
        if room == 0:
            await self._sink.wait_for_room()
            began = self._waited("consumer", began)
        size = self._size()
        ready = await self._source.fill(size, self._tally.n_jobs * size if room is None else 0)
        self._waited("input", began)
        return ready

    def _next_batch(self, most: int | None) -> Batch | None:
        """The next items, as many as seem right now, `most` at most; None if there are none, or none are wanted."""
        if self._books.failed_at is not None:
            return None
        start = self._source.taken
        size = self._size()
        items = self._source.take(size if most is None else min(size, most))
        if not len(items):
            return None
        self.sizer.taken()
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

    def _waited(self, what: str, since: float) -> float:
        now = time.monotonic()
        self._tally.waited[what] += now - since
        return now


async def _outlasted(step: Coroutine[Any, Any, None]) -> None:
    """One step of the end of a run; a cancellation of the task that does it, and of it alone, cuts short no other.

    Nor does an error: the results are there, the hooks are still to be told, and the pool is to be left.
    """
    try:
        await step
    except asyncio.CancelledError:
        pass
    except Exception:  # of our own, or the system's: it is told, and costs nobody the results
        _logger.exception("the end of an execution failed in part")


def _innermost(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception of a group that is not a group itself: a lone exception keeps its type."""
    exc: BaseException = group
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc
