"""What becomes of a chunk whose call failed: who is to blame, and which items run again.

Knows what is to be done; that it is done is up to `_traffic`, whose ways back it is given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import BrokenExecutor
from typing import NoReturn

from ._books import Books
from ._deaths import Death
from ._flight import Flight
from ._judgement import Judge, Judgement
from ._results import Sink
from ._verdict import verdict
from ._wire import Batch
from .backends import Place, Pool
from .errors import AmorsizeError, ExecutorClosedError, RemoteError, WorkerCrashedError

__all__ = ("Recovery",)


class Recovery:
    """Puts right what went wrong with chunks of one execution.

    again: sends a batch once more. later: does so after the wait that the retry policy says. fail: ends the run.
    """

    def __init__(
        self,
        pool: Pool,
        sink: Sink,
        books: Books,
        judge: Judge,
        *,
        again: Callable[[Batch], Awaitable[None]],
        later: Callable[[Batch], None],
        fail: Callable[[BaseException], NoReturn],
    ) -> None:
        self._pool = pool
        self._sink = sink
        self._books = books
        self._judge = judge
        self._again = again
        self._later = later
        self._fail = fail

    async def place_broke(self, flight: Flight, cause: BaseException | None, *, is_async: bool) -> None:
        """A call failed on the way: find out who is to blame, and run the innocent items again."""
        place = flight.place
        if self._pool.closed:
            self._fail(ExecutorClosedError("the executor was closed while it was busy with this call"))
        if place.pid is None:
            self._fail(_foreign_error(cause, self._pool.name))
        if not isinstance(cause, BrokenExecutor) and place.ready:
            await self._call_failed(flight, cause)
            return
        found = verdict(flight.batch, place.cell, flight.job.ticket, stride=flight.stride, is_async=is_async)
        if flight.ended_by_us:
            await self._buried(place, "timeout")
            judgement = self._judge.ended(found, place.pid, late=flight.was_late)
        else:
            judgement = self._judge.crashed(found, place.pid, await self._buried(place, "crashed"))
        await self._carry_out(judgement, place)

    async def halve(self, batch: Batch) -> None:
        """Run a batch again in two parts, to find the item of it that does harm."""
        self._fall_apart(2)
        for half in batch.halves():
            await self._again(half)

    async def _carry_out(self, judgement: Judgement, place: Place) -> None:
        """Do what was judged of a chunk whose worker is gone."""
        if judgement.error is not None and judgement.lost is None:
            self._fail(judgement.error)
        self._fall_apart(judgement.pieces)
        for batch in judgement.later:
            self._books.tally.retried += len(batch.items)
            self._later(batch)
        if judgement.lost is not None and judgement.error is not None:
            self._books.give_up(judgement.lost, judgement.error, place.pid)
        for batch in judgement.again:
            await self._again(batch)

    async def _call_failed(self, flight: Flight, cause: BaseException | None) -> None:
        """Our side of the worker raised, out of memory for example, and lives: find the item that it was about."""
        batch = flight.batch
        if len(batch.items) > 1:
            await self.halve(batch)
        else:
            error = cause if isinstance(cause, Exception) else RemoteError(repr(cause))
            self._books.give_up(batch, error, flight.place.pid)

    def _fall_apart(self, pieces: int) -> None:
        """Note that what was one piece becomes so many for the consumer."""
        for _ in range(pieces - 1):
            self._sink.dispatched(0)

    async def _buried(self, place: Place, reason: str) -> Death:
        """Wait until a dead worker is reaped, and tell of it."""
        death = await place.buried()
        if place.pid is not None and self._books.narrator.has_seen(place.pid):
            self._books.tally.lost += reason == "crashed"
            self._books.narrator.worker_gone(place.pid, reason, exitcode=death.exitcode)
        return death


def _foreign_error(cause: BaseException | None, name: str) -> AmorsizeError:
    """The error for an executor of somebody else that broke, refused, or cancelled a chunk (`cause` None)."""
    if isinstance(cause, BrokenExecutor):
        error: AmorsizeError = WorkerCrashedError(
            f"a worker of the {name} died, and the {name} with it; open a new one"
        )
    elif cause is None or isinstance(cause, RuntimeError):
        what = "cancelled the work" if cause is None else f"refused the work ({type(cause).__name__})"
        error = ExecutorClosedError(f"the {name} {what}; keep it open until the call has ended")
    else:
        first = cause
        while first.__cause__ is not None:
            first = first.__cause__
        lacks = isinstance(first, ImportError)
        way_out = "make amorsize_async and the function's module importable there" if lacks else "see the cause"
        error = AmorsizeError(f"the {name} cannot run the work ({type(first).__name__}: {first}); {way_out}")
    error.__cause__ = cause
    return error
