"""Somewhere chunks run: what an execution and the pool know of it, and what they can ask it to do.

This one has no power over what runs there, as in somebody else's executor; a `slot` has.
"""

from __future__ import annotations

import concurrent.futures
from collections import Counter
from dataclasses import dataclass, field

from .._chunk import CELL_WORDS, STOP, Cell, ChunkReply
from .._deaths import Death
from .._sharing import Share
from .agenda import Agenda

__all__ = ("Place",)


@dataclass(slots=True, eq=False)
class Place:
    """Somewhere chunks run: a worker process, or a whole foreign executor.

    executor: what runs calls there, None while there is nothing. unclaimed: replies that each execution has still to
    unpack. agenda: when it will be done with what it has. width: chunks it runs at once. load: chunks handed to it and
    not answered. pid: the worker process, None if unknown. pickled: whether chunks travel as pickles. known: digests of
    functions that it has answered with. cell: the words it shares with what runs there. steady: whether the cost of the
    chunk it runs was known. maps: whether it may have arenas mapped for chunks to come. keeps: whether it keeps
    results, in case they are asked for again. left: items that it may still be handed, None for any number. worn:
    whether what runs here has done enough, and should make room for another.
    """

    width: int = 1
    load: int = 0
    pid: int | None = None
    pickled: bool = True
    executor: concurrent.futures.Executor | None = None
    cell: Cell = field(default_factory=lambda: [0] * CELL_WORDS)
    known: set[bytes] = field(default_factory=set)
    steady: bool = False
    maps: bool = False
    keeps: bool = False
    left: int | None = None
    worn: bool = False
    unclaimed: Counter[Share] = field(default_factory=Counter)
    agenda: Agenda = field(default_factory=Agenda)

    @property
    def stopped(self) -> bool:
        """Whether what runs here is stopped (SIGSTOP), and does nothing until it is told to go on."""
        return False

    @property
    def ready(self) -> bool:
        """Whether chunks can be handed to it."""
        return self.executor is not None

    def broke(self) -> None:
        """Note that a call here failed although our side of it never raises: what runs here is gone."""

    def stop(self) -> None:
        """Ask what runs here to end between two items."""
        self.cell[STOP] = 1

    def resume(self) -> None:
        """Take `stop` back, where other chunks may come: not here, where each execution has a place of its own.

        What cannot be killed may run on when its execution has left, and stops between two items then.
        """

    def kill(self) -> bool:
        """End what runs here at once, with its process; False if this place has no such power."""
        return False

    def take(self, items: int) -> None:
        """Note that it was handed so many items."""
        if self.left is not None:
            self.left -= items
            self.worn = self.worn or self.left <= 0

    def noted(self, reply: ChunkReply) -> None:
        """Take notice of what a chunk did to what runs here."""

    async def buried(self) -> Death:
        """Wait until a dead place has left nothing behind; tells how it died."""
        return Death()
