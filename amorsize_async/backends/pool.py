"""Places where chunks run, and who gets the next free one; no process, thread or executor is started here.

acquire(share) ──► waits ──► _grant: least charged share, least loaded place ──► Place
release(place, share, seconds) ──► the share is charged, _grant again
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

from .._arena import Arenas
from .._chunk import ChunkReply
from .._sharing import Share, level, most_deserving
from .._threads import in_thread
from ..errors import ExecutorClosedError
from .choice import are_full, best_place
from .place import Place

__all__ = ("Member", "Pool")

FREED_ON_LOOP = 1 << 20
# Bytes of shared memory that are given back on the loop: 0.1 ms. More is given back in a thread.

DIED_WAIT = 1.0
# Seconds to wait for the futures of a worker that was killed: they break within milliseconds.


class Member(Protocol):
    """An execution that uses a pool, as the pool sees it."""

    def executor_closed(self) -> None:
        """The pool is closed before the execution has left."""

    def worker_gone(self, place: Place, reason: str) -> None:
        """A place is out of service that may have worked for the execution, and has no chunk of it."""


class Pool:
    """Shares out places among executions. Subclasses add, start, replace and close the places.

    name: what hooks and reports call it. pickles: whether functions and chunks have to be pickled for it. kills:
    whether it can end what runs in a place. arenas: what large payloads travel in, None where they go with the rest.
    """

    kills: bool = False
    arenas: Arenas | None = None

    def __init__(self, name: str, *, pickles: bool = True, places: Iterable[Place] = ()) -> None:
        self.name: str = name
        self.pickles: bool = pickles
        self.places: list[Place] = list(places)
        self.closing: bool = False
        self.closed: bool = False
        self.lost: int = 0
        self.recycled: int = 0
        self._shares: dict[Share, Member] = {}
        self._waiting: dict[Share, dict[asyncio.Future[Place], None]] = {}
        self._idle = asyncio.Event()
        self._entrance = asyncio.Lock()
        self._alarm: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        busy = sum(place.load for place in self.places)
        state = "closed" if self.closed else f"{len(self.places)} places, {busy} chunks, {len(self._shares)} executions"
        return f"<{type(self).__name__} {state}>"

    @property
    def capacity(self) -> int:
        """Chunks it can run at once."""
        return sum(place.width for place in self.places)

    @property
    def complaints(self) -> list[str]:
        """What it could not have of the system: places, shared memory."""
        return []

    @property
    def queued(self) -> int:
        """Chunks that wait for a place."""
        return sum(map(len, self._waiting.values()))

    def workers(self, share: Share) -> int:
        """Workers that `share` can have."""
        return min(share.limit, self.capacity)

    async def warm(self) -> None:
        """Have done beforehand what would hold the loop when the first chunk is handed over."""

    async def enter(self) -> None:
        """Wait for a turn of the loop in which no other execution begins.

        To begin takes 0.3 to 0.8 ms, so that a burst of calls would hold the loop for as many of them.
        """
        await self._entrance.acquire()
        asyncio.get_running_loop().call_soon(self._entrance.release)

    def join(self, n_jobs: int | None, member: Member) -> Share:
        """Open an account for an execution that uses at most `n_jobs` workers, None for all; `leave` closes it."""
        self.refuse_if_closed()
        limit = self.capacity if n_jobs is None else n_jobs
        share = Share(limit, level(self._shares))
        self._shares[share] = member
        self._idle.clear()
        return share

    def leave(self, share: Share) -> None:
        """Close an account; chunks that are still out are given back as they end."""
        self._shares.pop(share, None)
        for place in list(self.places):
            place.unclaimed.pop(share, None)
            self.retire(place)
        if not self._shares:
            self._idle.set()
        self._grant()

    def has_none_but(self, share: Share) -> bool:
        """Whether no other execution is left."""
        return not self._shares.keys() - {share}

    async def give_memory_back(self) -> None:
        """Let go of the memory that payloads travelled in, and that nobody uses."""
        arenas = [] if self.arenas is None else self.arenas.given_up()

        def close() -> None:
            for arena in arenas:
                arena.give_up()

        if sum(arena.room for arena in arenas) > FREED_ON_LOOP:
            await in_thread(close)
        else:
            close()

    def prepare(self, share: Share, wanted: int) -> None:
        """Start up to `wanted` of the places that `share` may use, without waiting for them."""

    async def acquire(self, share: Share) -> Place:
        """Wait for a place for one chunk of `share`; give it back with `release`."""
        if self.closed:
            self.refuse_if_closed()
        waiter: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(share, {})[waiter] = None
        self._grant()
        self._make_more()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give_back(waiter.result(), share)
            raise
        finally:
            self._wait_no_more(waiter, share)

    def _wait_no_more(self, waiter: asyncio.Future[Place], share: Share) -> None:
        waiters = self._waiting.get(share, {})
        waiters.pop(waiter, None)
        if not waiters:
            self._waiting.pop(share, None)

    def hold(self, place: Place, share: Share) -> None:
        """Note one more call of `share` in a place."""
        place.load += 1
        share.take(place)

    def expect(self, place: Place, seconds: float) -> None:
        """Note that a place was handed a chunk that should take so long; 0 if nobody knows."""
        place.agenda.add(seconds, time.monotonic())
        self._grant()

    def release(self, place: Place, share: Share, reply: ChunkReply | None) -> None:
        """Give a place back after a chunk, with its reply if there is one."""
        place.agenda.done(time.monotonic())
        if reply is not None:
            self.healthy()
            place.unclaimed[share] += share in self._shares  # nobody unpacks it for an execution that has left
            place.noted(reply)
        self.give_back(place, share, 0.0 if reply is None else reply.seconds)

    def give_back(self, place: Place, share: Share, seconds: float = 0.0) -> None:
        """Give a place back unused, or see `release`."""
        place.load -= 1
        if not place.load:
            place.agenda.clear()
            place.resume()
        share.give_back(place, seconds)
        self._grant()
        self._make_more()  # who waits may have had no right to more while it held this one, which may be dead

    def settle(self, place: Place, share: Share) -> None:
        """Note that all of a reply is safely here."""
        place.unclaimed[share] -= 1
        self.retire(place)

    def retire(self, place: Place) -> None:
        """Replace what runs in a place, if it has done enough and nobody needs it for what it did."""
        if place.worn and place in self.places and not place.load and not any(place.unclaimed.values()):
            self.recycled += 1
            self._remove(place)
            self._tell_gone(place, "recycled")

    def _tell_gone(self, place: Place, reason: str) -> None:
        """Tell all executions that a place is gone, but for those who had chunks there: they find out how it was."""
        for share, member in list(self._shares.items()):
            if place not in share.held:
                member.worker_gone(place, reason)

    def healthy(self) -> None:
        """Note that a chunk came back: workers live long enough to be of use."""

    async def abandon(self, calls: Iterable[tuple[Place, asyncio.Future[Any]]], grace: float) -> set[Place]:
        """Stop chunks that nobody wants any more: ask, wait `grace` seconds, then kill what still runs; gives those.

        calls: where each runs, and the future of its reply.
        """
        out = {future: place for place, future in calls if not future.done()}
        for place in out.values():
            place.stop()
        if not out:
            return set()
        try:
            await asyncio.wait(out, timeout=grace)
        finally:  # whoever cuts the grace short: nobody comes by here again
            running = {place for future, place in out.items() if not future.done()}
            killed = {place for place in running if self.kill(place)}
        if killed:
            await asyncio.wait([future for future in out if out[future] in killed], timeout=DIED_WAIT)
            await asyncio.wait([asyncio.ensure_future(place.buried()) for place in killed], timeout=DIED_WAIT)
        for future in out:
            future.cancel()  # only what cannot be killed is left: it runs on in its owner's executor, unheard
        return killed

    def broke(self, place: Place) -> None:
        """Take a place out of service in which a call broke, before anybody is given it again."""
        place.broke()
        if not place.ready and place in self.places:
            self.lost += 1
            self._remove(place)
            self._tell_gone(place, "crashed")

    async def aclose(self, drain: float = 0.0) -> None:
        """Take no more executions, let those that run end for `drain` seconds, then end them."""
        self.closing = True
        try:
            if self._shares and drain > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(drain):
                        await self._idle.wait()
        finally:
            self.closed = True
            for member in list(self._shares.values()):
                member.executor_closed()

    def refuse_if_closed(self) -> None:
        """Raise ExecutorClosedError once it is closed, or is being closed."""
        if self.closing:
            raise ExecutorClosedError("the executor is closed; open a new one, or close it after its last call")

    def kill(self, place: Place) -> bool:
        """End what runs in a place at once, and take the place out of service; False if that cannot be done."""
        killed = place.kill()
        if killed:
            self._remove(place)
            self._tell_gone(place, "killed")
        return killed

    def _remove(self, place: Place) -> None:
        """Take a dead place out of service; a pool that can replace it does."""
        if place in self.places:
            self.places.remove(place)

    def _make_more(self) -> None:
        """Start places for those who wait, if there may be more."""

    def _grant(self) -> None:
        """Hand free places to those who wait, the most deserving first; see to it that none is forgotten."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for share in self._served_next():
            while share in self._waiting:
                place, at = self._next_place(share)
                if place is None:
                    self._call_again(at)
                    break
                waiter = next(iter(self._waiting[share]))
                self._wait_no_more(waiter, share)
                if not waiter.done():  # done: it was cancelled, and has not run since
                    place.steady = share.steady and (place.steady or not place.load)
                    self.hold(place, share)
                    waiter.set_result(place)

    def _served_next(self) -> list[Share]:
        """Those who wait, the most deserving first; none where no place takes more."""
        if not self._waiting or are_full(self.places, alone=len(self._shares) <= 1):
            return []
        return most_deserving(self._waiting)

    def _call_again(self, at: float) -> None:
        """Set the alarm for when a place may take one more chunk behind another; infinity: nobody knows."""
        if at < math.inf and self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(max(0.0, at - time.monotonic()), self._grant)

    def _next_place(self, share: Share) -> tuple[Place | None, float]:
        alone = len(self._shares) <= 1 and not self._more_to_come(share)
        return best_place(self.places, share, alone=alone, now=time.monotonic())

    def _more_to_come(self, share: Share) -> bool:
        """Whether places for `share` are being started: then none should get two chunks already."""
        return False
