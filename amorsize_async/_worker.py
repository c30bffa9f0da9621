"""What a worker process runs: it unpickles a chunk, has the user's function called on its items, and sends values back.

Standard library and our lowest floors only: a worker imports neither anyio nor asyncio unless the function does (or is
a coroutine function).

    Chunk ──► run_chunk ──► _function (cached by digest) ──► run_items ──► ChunkReply
                                                               │
                                              cell: the index it is on; "stop" from the parent
"""

from __future__ import annotations

import gc
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from . import _payload, _worker_memory
from ._chunk import CELL_WORDS, STARTED, TICKET, Cell, Chunk, ChunkReply
from ._failures import failure_of, kind_of, travelling
from ._items import run_items
from ._parcel import Parcel, copied_size, parcel_size
from .errors import RemoteError, UnpicklableError

__all__ = ("forget", "run_chunk", "send_singly", "state")

KEPT_REPLIES, KEPT_BYTES = 2, 4 << 20
# Results that a worker keeps after it has sent them, in case they do not unpickle whole: those of the chunks that may
# be out at once, and none that would hold much memory.

NEVER = (1 << 63) - 1
# Of the monotonic clock: what begins then takes no time.

LOADING_SECONDS = 60
# What a worker may take beyond `item_timeout` before the first item of a function that is new to it: loading it imports
# whatever its module imports, and that is no item's fault.

CACHED_FUNCTIONS = 16
# Functions a worker keeps unpickled. Few, because one may hold an array; a service rarely alternates among more.


@dataclass(slots=True)
class _State:
    """All that a worker remembers between chunks.

    ours: whether the process is a worker of ours, and ends with us. n_jobs, depth: see `_worker_start.Setup`; an
    application is at depth 0. mouth: the pipe for its last words.
    """

    cell: Cell = field(default_factory=lambda: [0] * CELL_WORDS)
    functions: OrderedDict[bytes, Callable[[Any], Any]] = field(default_factory=OrderedDict)
    replies: OrderedDict[int, list[Any]] = field(default_factory=OrderedDict)
    ours: bool = False
    n_jobs: int | None = None
    depth: int = 0
    mouth: Any = None


state = _State()


# ── a chunk ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def run_chunk(chunk: Chunk) -> ChunkReply:
    """Run a pickled chunk; whatever the user's code does short of killing the process comes back in the reply."""
    pid = os.getpid()
    allowance = 0 if chunk.digest in state.functions else LOADING_SECONDS * 10**9
    state.cell[STARTED] = time.monotonic_ns() + allowance
    # It stays there when the chunk has ended: until the reply has arrived, a death is still this chunk's.
    state.cell[TICKET] = chunk.ticket
    try:
        return _run_chunk(chunk)
    finally:
        if os.getpid() != pid:
            os._exit(0)  # the function forked, and this is the child: a second worker on the same pipe
        state.cell[STARTED] = NEVER  # what is left is to send the reply, which is no item's doing


def _run_chunk(chunk: Chunk) -> ChunkReply:
    try:
        function = _function(chunk)
    except OSError as exc:
        return ChunkReply([], 0, refused="home", no_memory=str(exc), pid=os.getpid())
    try:
        parcel, held = _worker_memory.fetched(chunk)
    except OSError as exc:
        return ChunkReply([], 0, refused="memory", no_memory=str(exc), pid=os.getpid())
    if function is None:
        return ChunkReply([], 0, refused="function", pid=os.getpid())
    parcels = [parcel]
    del parcel  # items that are large can go as soon as nobody needs them
    reply = _run_parcel(function, parcels, chunk)
    return reply._replace(held=True) if held() else reply


def _run_parcel(function: Callable[[Any], Any], parcels: list[Parcel], chunk: Chunk) -> ChunkReply:
    """Unpickle the one parcel, which is taken away from the list, run its items, and pickle their results."""
    began = time.perf_counter()
    try:
        with _no_collections():
            items, failed = _payload.load_parcel(parcels.pop())
    except BaseException:  # noqa: BLE001 - the worker's edge: the parent sends the items again, one by one
        return ChunkReply([], 0, refused="items", pid=os.getpid())
    failed.update((offset, _NOT_SENT) for offset in chunk.unsent)
    reply = run_items(function, items, chunk, cell=state.cell, skip=failed, keeps_loop=state.ours)
    del items
    reply = _packed(reply, chunk)
    return reply._replace(moving_seconds=time.perf_counter() - began - reply.seconds)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Make objects without looking for garbage among them: all are new and wanted, which collections cannot know.

    They are a third of what it takes to unpickle dicts and lists.
    """
    if not gc.isenabled():  # somebody else decided so, and may want it to stay
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def send_singly(ticket: int) -> Parcel | None:
    """Send the results of a chunk again, pickled one by one; None if they are not kept any more."""
    values = state.replies.get(ticket)
    return None if values is None else _payload.pack_values(values, whole_up_to=0, homewards=False)[0]


def forget(digest: bytes | None, *, last: bool) -> None:
    """Drop a function with what it maps, None for none, and what is kept mapped for the next chunk.

    last: no execution is left, so that nobody asks for results again; one that is a view keeps its item's memory.
    """
    if digest is not None:
        state.functions.pop(digest, None)
    if last:
        state.replies.clear()
    _worker_memory.forget_maps()


_NOT_SENT = RemoteError("not sent")
# Stands for what went wrong in the parent, which knows it better.


def _function(chunk: Chunk) -> Callable[[Any], Any] | None:
    """The chunk's function: from the cache, or from its pickle. None: not here, the parent must send it.

    Raises OSError if the arena that it lies in cannot be had.
    """
    functions = state.functions
    if chunk.digest in functions:
        functions.move_to_end(chunk.digest)
        return functions[chunk.digest]
    if chunk.function is None:
        return None
    pickled = _worker_memory.mapped(chunk.function, chunk.home)
    try:
        functions[chunk.digest] = _payload.load_pickle(pickled)
    except BaseException as exc:  # noqa: BLE001 - the worker's edge: every item of the chunk then fails with it
        return _Unloadable(exc)
    if len(functions) > CACHED_FUNCTIONS:
        functions.popitem(last=False)
    return functions[chunk.digest]


class _Unloadable:
    """Stands for a function that does not unpickle here; calling it tells why."""

    def __init__(self, cause: BaseException) -> None:
        self.cause = cause

    def __call__(self, _item: Any) -> Any:
        reason = f"the function cannot be unpickled in the worker: {kind_of(self.cause)}"
        advice = "make its module importable there: sys.path is the parent's"
        raise UnpicklableError(f"{reason}; {advice}", subject="function", path="fn") from self.cause


def _packed(reply: ChunkReply, chunk: Chunk) -> ChunkReply:
    """The reply with its values and failures pickled; a result that cannot be is that item's failure."""
    values, no_memory = reply.values, ""
    whole_up_to = KEPT_BYTES if state.ours else 0
    parcel, refused, sure = _payload.pack_values(values, whole_up_to=whole_up_to, out_of_band=chunk.arena is not None)
    size, copied = parcel_size(parcel), copied_size(parcel)
    try:
        parcel = _worker_memory.stowed(parcel, chunk)
    except OSError as no_space:
        no_memory = str(no_space)
        parcel, refused, sure = _payload.pack_values(values, whole_up_to=whole_up_to)
    if not sure:
        _keep(chunk.ticket, values)
    failures = {failure.offset: failure for failure in reply.failures}
    for offset, exc in refused.items():
        failures[offset] = failure_of(offset, _payload.unpicklable("result", values[offset], exc))
    return reply._replace(
        values=parcel,
        packed=True,
        kept=not sure,
        failures=tuple(travelling(failures[offset]) for offset in sorted(failures)),
        bytes_in=parcel_size(chunk.items),
        bytes_out=size,
        bytes_copied=copied + copied_size(chunk.items),
        no_memory=no_memory,
    )


def _keep(ticket: int, values: list[Any]) -> None:
    state.replies[ticket] = values
    if len(state.replies) > KEPT_REPLIES:
        state.replies.popitem(last=False)
