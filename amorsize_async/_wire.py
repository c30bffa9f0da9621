"""The parent's side of a chunk: items become a job for an executor, its reply becomes values and failures again.

Knows both ends of the border and no event loop; `_worker` is the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from . import _payload
from ._arena import Arena
from ._chunk import Cell, Chunk, ChunkReply
from ._failures import Failure, received
from ._items import run_items
from ._parcel import Bundle, Parcel, changed, copied_size, has_bundles, parcel_size
from ._parts import Watch
from ._payload import PackedFunction, Packing, Pickling, Unpickling
from ._stored import Stowing, stowed
from ._worker import run_chunk
from .errors import UnpicklableError

__all__ = (
    "Batch",
    "FailedItem",
    "Job",
    "Loaded",
    "Terms",
    "failed_items",
    "job_for",
    "job_of",
    "load_slice",
    "load_values",
    "slice_for",
    "with_unloadable",
)


class Batch(NamedTuple):
    """Neighbouring items on their way, kept until their reply is there.

    start: index of the first. singly: pickle them one by one, since some do not unpickle. exact: look at the cell at
    each item, since one of them killed a worker. attempt: which one this is for its items, from 1.
    """

    start: int
    items: Sequence[Any]
    singly: bool = False
    exact: bool = False
    attempt: int = 1

    @property
    def indices(self) -> range:
        """The positions of its items in the input."""
        return range(self.start, self.start + len(self.items))

    def part(self, first: int, end: int, *, careful: bool = False) -> Batch:
        """The items from offset `first` up to `end`, as a batch of its own; `careful`: one of them is to be found."""
        careful = careful or self.exact
        items = self.items[first:end]
        return Batch(self.start + first, items, careful or self.singly, careful, self.attempt)

    def next_attempt(self) -> Batch:
        """The same items, tried once more."""
        return self._replace(attempt=self.attempt + 1)

    def halves(self) -> tuple[Batch, Batch]:
        """Two batches of half the items, to be run with care."""
        middle = (len(self.items) + 1) // 2
        return self.part(0, middle, careful=True), self.part(middle, len(self.items), careful=True)


class Job(NamedTuple):
    """What an executor is asked to do: `call(*args)`; unsendable: offsets of items that could not be pickled.

    ticket: a number of its own, by which its results can be asked for again. arena: what its payload travels in, both
    ways; None: the pipe. size: bytes of the pickled items.
    """

    ticket: int
    call: Callable[..., ChunkReply]
    args: tuple[Any, ...]
    unsendable: dict[int, BaseException]
    arena: Arena | None = None
    size: int = 0

    @property
    def is_mapped(self) -> bool:
        """Whether its worker maps the arena for it."""
        return self.arena is not None and has_bundles(self.args[0].items)


@dataclass(frozen=True, slots=True)
class FailedItem:
    """One item that failed: its index in the input, the exception for the caller, the traceback as text."""

    index: int
    exception: BaseException
    traceback: str


class Terms(NamedTuple):
    """How a batch is to be sent and run.

    pickled: whether it goes to another process. known: whether the worker has the function. stride: items between two
    looks at the cell. stop: whether the first failing item ends the chunk. budget: seconds after which the worker sends
    back what it has. item_timeout: seconds that one item may run, None for any.
    """

    pickled: bool
    known: bool
    cell: Cell
    stride: int
    stop: bool
    budget: float
    item_timeout: float | None


def job_for(
    batch: Batch, function: PackedFunction, terms: Terms, *, arena: Arena | None = None, watch: Watch | None = None
) -> Job:
    """The job for a batch: its items pickled, and written into the arena if they are large.

    watch: told of each part that is pickled, see `_parts`; what it raises ends it. Raises OSError if there is no memory
    for the arena.
    """
    how = Packing(singly=batch.singly, out_of_band=arena is not None, watch=watch)
    parcel, unsendable = _payload.pack_items(batch.items, how) if terms.pickled else (b"", {})
    if watch is not None:
        watch(0, copied_size(parcel))
    return job_of(batch, function, terms, _stowed(parcel, arena), unsendable, arena=arena)


def job_of(
    batch: Batch,
    function: PackedFunction,
    terms: Terms,
    parcel: Parcel,
    unsendable: dict[int, BaseException],
    *,
    arena: Arena | None = None,
) -> Job:
    """The job for a batch whose items are packed: `parcel`, in the arena where it is large."""
    chunk = Chunk(
        batch.start,
        next(_tickets),
        function.digest,
        None if terms.known else function.pickled,
        parcel,
        is_async=function.is_async,
        stop_at_failure=terms.stop,
        stride=1 if batch.exact else terms.stride,
        unsent=tuple(unsendable),
        budget=terms.budget,
        item_timeout=terms.item_timeout,
        home=None if terms.known or isinstance(function.pickled, bytes) else function.home,
        arena=None if arena is None else arena.address,
    )
    if not terms.pickled:
        return Job(chunk.ticket, _run_here, (function.function, batch.items, chunk, terms.cell), {})
    return Job(chunk.ticket, run_chunk, (chunk,), unsendable, arena, parcel_size(parcel))


def slice_for(
    items: Sequence[Any], *, pickling: Pickling, stowing: Stowing | None, large: bool, watch: Watch
) -> bytes | Bundle:
    """The next slice of a parcel, stowed in the chunk's arena if it has one, and the parcel or the slice is large.

    Raises what pickling raises, TooLarge where the watch does, and OSError if there is no memory for the arena.
    """
    packed = Packing(out_of_band=stowing is not None).bundled(pickling.pickled(items, watch), large=large)
    if stowing is None or isinstance(packed, bytes):
        return packed
    watch(0, copied_size(packed))
    return stowing.stow(packed)


def _stowed(parcel: Parcel, arena: Arena | None) -> Parcel:
    """The parcel, written into the arena as far as it is large."""
    return parcel if arena is None or isinstance(parcel, bytes) else stowed(parcel, arena.write)


def _run_here(function: Callable[[Any], Any], items: Sequence[Any], chunk: Chunk, cell: Cell) -> ChunkReply:
    return run_items(function, items, chunk, cell=cell)


_tickets = count(1)


Loaded = tuple[list[Any], dict[int, BaseException]]
# Results, None where one failed to unpickle, and why: offset to exception.


def load_values(reply: ChunkReply, arena: Arena | None, *, gently: bool = False) -> Loaded | None:
    """The results of a reply; None if they do not unpickle whole, and the worker can send them one by one.

    gently: let other threads run meanwhile.
    """
    if not reply.packed:
        return list(reply.values), {}
    try:
        return _payload.load_parcel(_fetched(reply.values, arena), gently=gently)
    except KeyboardInterrupt:  # the user's own, maybe
        raise
    except BaseException as exc:  # noqa: BLE001 - user code (`__setstate__`) may raise anything
        return None if reply.kept else ([None] * reply.done, dict.fromkeys(range(reply.done), exc))


def load_slice(each: bytes | Bundle, arena: Arena | None, unpickling: Unpickling) -> list[Any]:
    """The results of the next slice of a reply; raises whatever its classes raise, and OSError without the arena."""
    if isinstance(each, Bundle) and arena is not None:
        each = each.changed(arena.read)
    values: list[Any] = unpickling.load(each)
    return values


def _fetched(parcel: Parcel, arena: Arena | None) -> Parcel:
    if arena is None or not has_bundles(parcel):
        return parcel
    return changed(parcel, arena.read)


def failed_items(
    failures: Sequence[Failure], batch: Batch, unsendable: dict[int, BaseException], *, gently: bool = False
) -> list[FailedItem]:
    """What failed in the worker, or was never sent to it. gently: let other threads run meanwhile."""
    return [_failed(failure, batch, unsendable, gently=gently) for failure in failures]


def _failed(failure: Failure, batch: Batch, unsendable: dict[int, BaseException], *, gently: bool) -> FailedItem:
    index = batch.start + failure.offset
    if failure.offset in unsendable:
        cause = unsendable[failure.offset]
        error = _payload.unpicklable("item", batch.items[failure.offset], cause, where=f"item {index}")
        error.__cause__ = cause
        return FailedItem(index, error, "")
    return FailedItem(index, received(failure, index, gently=gently), failure.traceback)


def with_unloadable(failures: list[FailedItem], batch: Batch, unloadable: dict[int, BaseException]) -> list[FailedItem]:
    """The failures of a batch, with those of results that did not unpickle, by rising index."""
    if not unloadable:
        return failures
    each = {failed.index: failed for failed in failures}
    each |= {batch.start + offset: _unloadable(batch.start + offset, exc) for offset, exc in unloadable.items()}
    return [each[index] for index in sorted(each)]


def _unloadable(index: int, cause: BaseException) -> FailedItem:
    way_out = (
        "there is no memory for it here" if isinstance(cause, MemoryError | OSError) else "return plain data instead"
    )
    message = f"the result of item {index} cannot be unpickled here: {type(cause).__name__}; {way_out}"
    error = UnpicklableError(message, subject="result", path="result")
    error.__cause__ = cause
    return FailedItem(index, error, "")
