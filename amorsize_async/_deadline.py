"""Watches the item that a worker is on, and has the worker ended when that item takes longer than it may.

The worker writes when each item began into the cell it shares with us, so time in queues, and for starting, is not
counted; a timer of the loop looks when the item's time would be over, and not before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ._chunk import CURRENT, STARTED, TICKET, Cell

__all__ = ("Deadline", "overdue", "seconds_left")

LONGEST_NAP = 3600.0
# Seconds that a timer may be set to: a worker that sends its reply has all the time in the world.

SECOND_LOOK = 0.005
# Seconds between finding an item overdue and ending its worker. If our own loop was blocked, the timer is late too, and
# the reply may be waiting to be read: this lets the loop read it.

LOOP_GRACE = 0.5
# Seconds beyond the limit before the worker of coroutines is ended: their own loop cancels them at the limit, and is
# to be ended only if one of them blocks it.


def seconds_left(cell: Cell, ticket: int, limit: float, now: float) -> float:
    """Seconds before an item of the chunk can be overdue: all of them while it has not begun."""
    before = cell[CURRENT]
    started = cell[STARTED]
    if cell[TICKET] != ticket or cell[CURRENT] != before:  # not begun; or the next item began while we looked
        return limit
    return started * 1e-9 + limit - now


def overdue(cell: Cell, ticket: int, limit: float, then: float) -> bool:
    """Whether what a worker did, by the cell that it left, had taken too long when it was ended.

    It may have gone on to the next item, or to the next chunk, between the look and the blow.
    """
    return cell[TICKET] == ticket and cell[STARTED] * 1e-9 + limit <= then


class Deadline:
    """The time limit of one chunk's items.

    ticket: the chunk. seconds: what one item may take. is_async: its items run at once. done: tells whether its reply
    is here. end: ends the worker. stuck: tells whether the worker is stopped (SIGSTOP), and will never take the chunk.
    """

    def __init__(
        self,
        cell: Cell,
        ticket: int,
        seconds: float,
        *,
        is_async: bool,
        done: Callable[[], bool],
        end: Callable[[], object],
        stuck: Callable[[], bool],
    ) -> None:
        self._cell = cell
        self._ticket = ticket
        self._limit = seconds + LOOP_GRACE * is_async
        self._done = done
        self._end = end
        self._stuck = stuck
        self._found_late = False
        self._ended_at: float | None = None
        self._timer = asyncio.get_running_loop().call_later(self._limit, self._look)

    def __repr__(self) -> str:
        return f"<Deadline limit={self._limit} {'running' if self._ended_at is None else 'over'}>"

    def _look(self) -> None:
        if self._done():
            return
        left = seconds_left(self._cell, self._ticket, self._limit, now := time.monotonic())
        late, self._found_late = self._found_late, left <= 0
        if left <= 0 and late:
            self._ended_at = now
            self._end()
        elif self._cell[TICKET] != self._ticket and self._stuck():
            self._end()
        else:
            self._timer = asyncio.get_running_loop().call_later(min(max(left, SECOND_LOOK), LONGEST_NAP), self._look)

    def cancel(self) -> None:
        """Look no more: the chunk has ended."""
        self._timer.cancel()

    @property
    def ended_it(self) -> bool:
        """Whether the worker was ended for this chunk, rightly or not."""
        return self._ended_at is not None

    @property
    def was_right(self) -> bool:
        """Whether the item that the worker was on when it was ended had taken too long."""
        return self._ended_at is not None and overdue(self._cell, self._ticket, self._limit, self._ended_at)
