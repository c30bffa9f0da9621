"""Hands calls to places: on which terms, and what ends a chunk whose item takes too long.

The only place that calls `run_in_executor`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from ._chunking import ChunkSizer
from ._deadline import Deadline
from ._flight import Flight, landed
from ._payload import PackedFunction
from ._run_options import RunOptions
from ._sharing import Share
from ._stopwatch import Stopwatch
from ._wire import Batch, Job, Terms
from .backends import Place, Pool

__all__ = ("Launcher",)


class Launcher:
    """What hands over the chunks of one execution.

    flights: chunks that are out. sent_to: the places that any was handed to.
    """

    def __init__(
        self, function: PackedFunction, *, pool: Pool, share: Share, sizer: ChunkSizer, options: RunOptions
    ) -> None:
        self.flights: set[Flight] = set()
        self.sent_to: set[Place] = set()
        self._digest = function.digest
        self._is_async = function.is_async
        self._pool = pool
        self._share = share
        self._sizer = sizer
        self._options = options

    def terms(self, place: Place) -> Terms:
        """How a chunk is to be sent to a place, and run there."""
        return Terms(
            pickled=place.pickled,
            known=self._digest in place.known,
            cell=place.cell,
            stride=1 if self._options.item_timeout is not None else self._sizer.stride(),
            stop=not self._options.return_exceptions and self._options.retry is None,
            budget=self._sizer.budget,
            item_timeout=self._options.item_timeout,
        )

    def launched(self, batch: Batch, place: Place, terms: Terms, job: Job, watch: Stopwatch) -> Flight:
        """Send a packed batch off; raises nothing: what goes wrong is in the flight's future."""
        watch.transfer()
        place.take(len(batch.items))
        landing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        seconds = self._sizer.seconds_of(len(batch.items))
        future = self.called(place, job.call, *job.args, seconds=seconds, landing=landing)
        flight = Flight(place, batch, job, terms.stride, watch, future, landing, self._deadline(place, job, future))
        self.flights.add(flight)
        self.sent_to.add(place)
        place.maps |= job.is_mapped
        watch.overhead()
        return flight

    def called(
        self, place: Place, *call: Any, seconds: float = 0.0, landing: asyncio.Future[None] | None = None
    ) -> asyncio.Future[Any]:
        """Run a call in the place; a place that refuses gives a future that has failed already.

        seconds: what it should take, 0 if nobody knows. landing: see `Flight`.
        """
        loop = asyncio.get_running_loop()
        try:
            if place.executor is None:  # the loop would take its own threads for it
                raise BrokenProcessPool("the worker is gone")
            future = loop.run_in_executor(place.executor, *call)
        except Exception as exc:  # noqa: BLE001 - broken, closed, or somebody else's executor, which may raise anything
            future = loop.create_future()
            future.set_exception(exc)
        self._pool.expect(place, seconds)
        future.add_done_callback(partial(landed, self._pool, place, self._share, landing))
        return future

    def _deadline(self, place: Place, job: Job, future: asyncio.Future[Any]) -> Deadline | None:
        """What ends the worker when an item runs longer than it may; None if any item may take its time."""
        if self._options.item_timeout is None or not self._pool.kills:
            return None
        return Deadline(
            place.cell,
            job.ticket,
            self._options.item_timeout,
            is_async=self._is_async,
            done=future.done,
            end=partial(self._pool.kill, place),
            stuck=lambda: place.stopped,
        )
