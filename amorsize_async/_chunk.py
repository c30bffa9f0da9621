"""What crosses the border to a worker: the chunk, its reply, and the cell of memory that both sides see.

Records only; `_wire` and `_worker` are the two ends. Imported by workers: standard library, and what they need anyway.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

from ._arena import Address
from ._failures import Failure
from ._parcel import Bundle, Parcel

__all__ = ("CELL_WORDS", "CURRENT", "STARTED", "STOP", "TICKET", "Cell", "Chunk", "ChunkReply")

CURRENT, STOP, TICKET, STARTED, CELL_WORDS = 0, 1, 2, 3, 4
# The words of the cell, the small memory that a worker shares with its parent: the index of the item it is on, plus
# one (0: none); whether the parent asks it to stop between items; the last chunk that it took (0: none); when what it
# does now began, in nanoseconds of the monotonic clock, which is one for all processes (kept for timed chunks only).


class Cell(Protocol):
    """A few words of memory, shared with the parent (a memoryview) or not (a list)."""

    def __getitem__(self, word: int, /) -> int: ...

    def __setitem__(self, word: int, value: int, /) -> None: ...


class Chunk(NamedTuple):
    """A contiguous run of items on its way to a worker.

    start: index of its first item in the input. ticket: a number that no other chunk of the parent has. digest: names
    the function. function: the pickled function, None if the worker should have it. items: the parcel. is_async: the
    function gives coroutines. stop_at_failure: leave at the first failing item. stride: items between two looks at the
    cell (1: exact blame). unsent: offsets of items that could not be pickled; they fail unrun. budget: seconds after
    which the rest is sent back unrun, so that a chunk sized by a wrong guess does not hold its worker for long.
    home: where a large function lies. arena: where large items lie, and large results are to lie; None: send them all.
    """

    start: int
    ticket: int
    digest: bytes
    function: bytes | Bundle | None
    items: Parcel
    is_async: bool = False
    stop_at_failure: bool = True
    stride: int = 1
    unsent: tuple[int, ...] = ()
    budget: float = math.inf
    item_timeout: float | None = None
    home: Address | None = None
    arena: Address | None = None

    def __repr__(self) -> str:
        return f"<Chunk {self.ticket} from item {self.start}>"  # whatever it carries is the user's own


class ChunkReply(NamedTuple):
    """What came of a chunk, as the worker measured it.

    values: the parcel of results, None where an item failed; `done` of them. failures: one record each. seconds,
    cpu_seconds: wall and CPU time of the chunk; item_seconds: the wall times of its items, which may overlap, summed.
    bytes_in, bytes_out: sizes of the parcels; bytes_copied: of both, those
    beside the pickles. peak_rss: the most memory the process has held, bytes. pid: who ran it, see `_items`.
    packed: whether the values are pickled. kept: whether the worker has them still, and can send them one by one.
    refused: why nothing was run: "" (it was), "function" (not in the cache), "items" (do not unpickle whole), "memory"
    (the arena cannot be had), "home" (that of the function cannot). no_memory: what the system said of it. held:
    whether the function has kept what lies in the arena. moving_seconds: wall time of unpickling the items and of
    pickling the results.
    """

    values: Any
    done: int
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    peak_rss: int = 0
    pid: int = 0
    item_seconds: float = 0.0
    packed: bool = False
    kept: bool = False
    refused: str = ""
    held: bool = False
    no_memory: str = ""
    moving_seconds: float = 0.0
    bytes_copied: int = 0
