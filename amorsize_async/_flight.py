"""A chunk on its way to a worker and back."""

from __future__ import annotations

import asyncio
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import Any

from ._chunk import ChunkReply
from ._deadline import Deadline
from ._sharing import Share
from ._stopwatch import Stopwatch
from ._wire import Batch, Job
from .backends import Place, Pool

__all__ = ("Flight", "landed")


@dataclass(frozen=True, slots=True, eq=False)
class Flight:
    """A batch on its way: where it runs, what was sent, the stride it was sent with, its costs, its reply to come.

    landing: done once it has ended, however that was, and the place is given back. deadline: what ends its worker when
    an item takes too long.
    """

    place: Place
    batch: Batch
    job: Job
    stride: int
    watch: Stopwatch
    future: asyncio.Future[Any]
    landing: asyncio.Future[None]
    deadline: Deadline | None

    def cancel_deadline(self) -> None:
        """Watch its items no more."""
        if self.deadline is not None:
            self.deadline.cancel()

    @property
    def reply(self) -> ChunkReply | None:
        """What came of it; None if nothing has, or nothing will."""
        failed = not self.future.done() or self.future.cancelled() or self.future.exception() is not None
        return None if failed else self.future.result()

    @property
    def ended_by_us(self) -> bool:
        """Whether its worker was ended because an item took too long."""
        return self.deadline is not None and self.deadline.ended_it

    @property
    def was_late(self) -> bool:
        """Whether that item still ran when the worker was ended."""
        return self.deadline is not None and self.deadline.was_right


def landed(
    pool: Pool, place: Place, share: Share, landing: asyncio.Future[None] | None, future: asyncio.Future[Any]
) -> None:
    """Give the place back when a call there has really ended, whether or not anybody still waits for the landing."""
    failed = future.cancelled() or future.exception() is not None
    if failed and (future.cancelled() or isinstance(future.exception(), BrokenExecutor)):
        pool.broke(place)
    reply = None if failed else future.result()
    pool.release(place, share, reply if isinstance(reply, ChunkReply) else None)
    if landing is not None and not landing.done():
        landing.set_result(None)
