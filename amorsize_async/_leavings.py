"""What an execution leaves in its workers and in shared memory, cleared away in part while its last chunks run.

    the input is all sent ─► begin: workers drop what they keep for chunks to come, behind the chunks that they have
    the execution ends    ─► end: they drop what they got since, and our memory is given back

Not our memory, too, as chunks come home: taking pages away that a worker still maps, while it works, took longer than
waiting for all of it at the end (measured; a run of texts became 2 % longer so, and 2 % shorter like this).
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from ._launcher import Launcher
from ._payload import PackedFunction
from ._sharing import Share
from ._worker import forget
from .backends import Place, Pool

__all__ = ("Leavings",)

FORGET_SECONDS = 0.5
# How long the end of a run waits for workers that are to drop its function: that takes half a millisecond, but they may
# be busy with another run.


class Leavings:
    """What one execution leaves behind."""

    def __init__(self, function: PackedFunction, *, pool: Pool, share: Share, launcher: Launcher) -> None:
        self._function = function
        self._pool = pool
        self._share = share
        self._launcher = launcher
        self._calls: set[asyncio.Future[Any]] = set()

    def __repr__(self) -> str:
        return f"<Leavings {len(self._calls)} workers told>"

    def begin(self) -> None:
        """Note that all of the input is on its way; what is sent once more all the same is left for `end`."""
        self._tell_workers(last=False)

    async def end(self) -> None:
        """Clear away what is left, and wait for that, but not for workers that are busy."""
        self._tell_workers(last=True)
        memory = [self._pool.give_memory_back()] if self._pool.has_none_but(self._share) else []
        await asyncio.gather(self._told(), *memory)

    async def _told(self) -> None:
        if self._calls:
            await asyncio.wait(self._calls, timeout=FORGET_SECONDS)

    def _tell_workers(self, *, last: bool) -> None:
        """Have them drop the function if it lies in our memory, and if nobody else may use them, arenas, too.

        last: nobody asks for results again; one that is a view keeps its item's memory until then.
        """
        alone = self._pool.has_none_but(self._share)
        for place in self._pool.places:
            maps_function = self._function.home is not None and place in self._launcher.sent_to
            has_more = alone and (place.maps or (last and place.keeps))
            if place.ready and not place.worn and (maps_function or has_more):
                self._tell(place, self._function.digest if maps_function else None, last=last and alone)

    def _tell(self, place: Place, digest: bytes | None, *, last: bool) -> None:
        place.maps, place.keeps = False, place.keeps and not last
        if digest is not None:
            place.known.discard(digest)
            self._launcher.sent_to.discard(place)
        self._pool.hold(place, self._share)
        call = self._launcher.called(place, partial(forget, digest, last=last))
        # One that was worn when its last chunk came home had this to do still.
        call.add_done_callback(lambda _: self._pool.retire(place))
        self._calls.add(call)
