"""Chooses the place for the next chunk of an execution; pure: no clock, no loop."""

from __future__ import annotations

import math
from collections.abc import Iterable

from .._sharing import Share
from .place import Place

__all__ = ("are_full", "best_place")

QUEUED_CHUNKS = 1
# Chunks that wait at a worker behind the one it runs, to hide the round trip (0.3 ms), shortly before that is done:
# see `agenda`. Only while one execution has the pool to itself: a queued chunk is time that a small call would have to
# wait, and a worker never holds chunks of two executions at once, so that killing it for one harms no other. And only
# behind a chunk whose cost was known when it was sent: behind the first item of a run, which may take an hour, nothing
# waits.

EARLY = 0.0005
# Seconds by which a timer may come too early, and does: the loop's clock is coarser than ours.


def are_full(places: Iterable[Place], *, alone: bool) -> bool:
    """Whether no place takes one chunk more, whoever asks: told without asking for each of hundreds that wait.

    alone: whether there is no more than one execution.
    """
    room = 1 + (QUEUED_CHUNKS if alone else 0)
    return all(place.load >= place.width * room for place in places)


def best_place(places: Iterable[Place], share: Share, *, alone: bool, now: float) -> tuple[Place | None, float]:
    """The least loaded place that may take one more chunk of `share` now; None if there is none, and until when.

    alone: whether `share` is the only one, and no places for it are being started. now: as of the monotonic clock;
    infinity stands for a time that nobody knows.
    """
    queued = QUEUED_CHUNKS if alone and share.steady else 0
    best, earliest = None, math.inf
    for place in places:
        # Behind a chunk whose size is not known yet, nobody can tell how much a limited place has left.
        room = place.width * (1 + queued if place.steady and place.left is None else 1)
        if place.load >= room or not place.ready or place.worn or not share.may_use(place):
            continue
        at = 0.0 if place.load < place.width or place.width > 1 else place.agenda.next_at(place.load)
        earliest = min(earliest, at)
        if at <= now + EARLY and (best is None or place.load / place.width < best.load / best.width):
            best = place
    return best, earliest
