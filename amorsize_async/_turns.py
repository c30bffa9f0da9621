"""The loop's time, shared between payloads and everybody else: one payload has a turn, and how much goes at one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ._stopwatch import Stopwatch

__all__ = ("ONE_A_TURN", "Turn", "together")

ONE_A_TURN = 1 << 15
# Bytes of a payload from which each has a turn of the loop to itself, since replies of many workers may come at once.

T = TypeVar("T")


class Turn:
    """A turn of the loop for one payload alone; what is done in it is what `watch` calls transfer.

    Packing and unpacking take turns, and one iteration of the loop in two is free of both: without that, others were
    served two milliseconds later, at worst, while a million small objects came and went, and it took as long.
    """

    def __init__(self, alone: asyncio.Lock, watch: Stopwatch) -> None:
        self._alone, self._watch = alone, watch

    async def __aenter__(self) -> None:
        await self._alone.acquire()
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # the one before was the end of somebody else's turn
        except asyncio.CancelledError:
            self._alone.release()
            raise
        self._watch.go_on()

    async def __aexit__(self, *_exception: object) -> None:
        self._watch.transfer()
        self._alone.release()


def together(things: Iterable[T], size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Neighbouring things, so many together as have a size of `most` at most; one that is larger stands alone."""
    group: list[T] = []
    held = 0
    for thing in things:
        mine = size(thing)
        if group and held + mine > most:
            yield group
            group, held = [], 0
        group.append(thing)
        held += mine
    if group:
        yield group
