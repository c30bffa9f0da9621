"""What a worker process runs: it unpickles a chunk, calls the user's function on its items, and sends values back.

The only place that calls the user's function. Standard library and our lowest floors only: a worker imports neither
anyio nor asyncio unless the function does (or is a coroutine function).

    Chunk ──► run_chunk ──► _function (cached by digest) ──► run_items ──► ChunkReply
                                                               │
                                              cell: the index it is on; "stop" from the parent
"""

from __future__ import annotations

import os
import sys
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import _payload, _worker_memory
from ._chunk import CELL_WORDS, CURRENT, STARTED, STOP, TICKET, Cell, Chunk, ChunkReply
from ._failures import Failure, failure_of, kind_of, travelling, unloadable_item
from ._parcel import Parcel, copied_size, parcel_size
from .errors import ItemTimeoutError, RemoteError, UnpicklableError

if TYPE_CHECKING:
    import asyncio

__all__ = ("close_runner", "forget", "run_chunk", "run_items", "send_singly", "state")

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
    runner: asyncio.Runner | None = None


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
        state.cell[STARTED] = NEVER  # what is left is to send the reply, which is no item's doing
        if os.getpid() != pid:
            os._exit(0)  # the function forked, and this is the child: a second worker on the same pipe


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
        items, failed = _payload.load_parcel(parcels.pop())
    except BaseException:  # noqa: BLE001 - the worker's edge: the parent sends the items again, one by one
        return ChunkReply([], 0, refused="items", pid=os.getpid())
    failed.update((offset, _NOT_SENT) for offset in chunk.unsent)
    reply = run_items(function, items, chunk, skip=failed)
    del items
    reply = _packed(reply, chunk)
    return reply._replace(moving_seconds=time.perf_counter() - began - reply.seconds)


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


def run_items(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    chunk: Chunk,
    *,
    skip: dict[int, BaseException] | None = None,
    cell: Cell | None = None,
) -> ChunkReply:
    """Call `function` on every item and measure it. `skip`: items that could not be unpickled, which fail unrun."""
    cell = state.cell if cell is None else cell
    loop = _run_async if chunk.is_async else _run_plain
    began, cpu_began = time.perf_counter(), time.thread_time()
    values, failures, together = loop(function, items, chunk, skip or {}, cell)
    seconds, cpu_seconds = time.perf_counter() - began, time.thread_time() - cpu_began
    cell[CURRENT], cell[STARTED] = 0, time.monotonic_ns()  # what is left is to pickle the results
    return ChunkReply(
        values,
        len(values),
        tuple(failures),
        seconds,
        cpu_seconds,
        peak_rss=_peak_rss(),
        pid=os.getpid(),
        item_seconds=together or seconds,
    )


def _run_plain(
    function: Callable[[Any], Any], items: Sequence[Any], chunk: Chunk, skip: dict[int, BaseException], cell: Cell
) -> tuple[list[Any], list[Failure], float]:
    """One item after the other, `stride` at a time at the speed of `map`; a stride ends at a failing item."""
    values: list[Any] = []
    failures: list[Failure] = []
    timed = chunk.item_timeout is not None
    stride = 1 if skip or timed else chunk.stride
    clock = time.perf_counter
    deadline = clock() + chunk.budget
    while len(values) < len(items) and not cell[STOP] and (clock() < deadline or not values):
        offset = len(values)
        if timed:
            cell[STARTED] = time.monotonic_ns()
        cell[CURRENT] = chunk.start + offset + 1
        try:
            if stride == 1:
                if offset in skip:
                    raise unloadable_item(chunk.start + offset, skip[offset])
                values.append(function(items[offset]))
            else:
                values.extend(map(function, items[offset : offset + stride]))
                if len(values) < min(offset + stride, len(items)):
                    raise StopIteration  # the function raised it, and `map` took it for the end of its items
        except BaseException as exc:  # noqa: BLE001 - the worker's edge: the caller gets it as the item's own
            failures.append(failure_of(len(values), exc))
            values.append(None)
            if chunk.stop_at_failure:
                break
    return values, failures, 0.0


def _run_async(
    function: Callable[[Any], Any], items: Sequence[Any], chunk: Chunk, skip: dict[int, BaseException], cell: Cell
) -> tuple[list[Any], list[Failure], float]:
    """All items of the chunk at once, on this worker's own event loop; gives the sum of their times, too.

    An item that takes too long is cancelled; the cell tells when one began or ended, so that the parent sees a loop
    that one of them blocks.
    """
    from asyncio import gather

    failures: list[Failure] = []
    together = 0.0

    async def guarded(offset: int, item: Any) -> Any:
        nonlocal together
        cell[STARTED] = time.monotonic_ns()
        began = time.perf_counter()
        try:
            if offset in skip:
                raise unloadable_item(chunk.start + offset, skip[offset])
            return await _within(chunk.item_timeout, function(item), chunk.start + offset)
        except BaseException as exc:  # noqa: BLE001 - as in _run_plain
            failures.append(failure_of(offset, exc))
        finally:
            together += time.perf_counter() - began
            cell[STARTED] = time.monotonic_ns()

    async def everything() -> list[Any]:
        return await gather(*(guarded(offset, item) for offset, item in enumerate(items)))

    if cell[STOP]:
        return [], [], 0.0
    cell[CURRENT] = chunk.start + 1
    values = _run_on_a_loop(everything)
    return values, sorted(failures, key=lambda failure: failure.offset), together


async def _within(seconds: float | None, awaitable: Awaitable[Any], index: int) -> Any:
    """What `awaitable` gives; raises ItemTimeoutError if that takes more than `seconds`."""
    if seconds is None:
        return await awaitable
    from asyncio import timeout

    try:
        async with timeout(seconds) as scope:
            return await awaitable
    except TimeoutError as exc:
        if not scope.expired():
            raise
        message = f"item {index} ran longer than item_timeout={seconds} s and was cancelled; allow it more, or do less"
        raise ItemTimeoutError(message, index=index, seconds=seconds) from exc


def _run_on_a_loop(everything: Callable[[], Coroutine[Any, Any, list[Any]]]) -> list[Any]:
    """Run on this worker's own loop, kept from chunk to chunk so that a function may keep a client bound to it.

    In threads, and in somebody else's processes, there is no end at which we could close it: a new one for each chunk.
    """
    if not state.ours:
        with _new_runner() as runner:
            return runner.run(everything())
    if state.runner is None:
        state.runner = _new_runner()
    return state.runner.run(everything())


def close_runner() -> None:
    """Close this worker's own loop, and with it what nested calls have opened on it; at the end of the process."""
    if state.runner is not None:
        state.runner.close()
        state.runner = None


def _new_runner() -> asyncio.Runner:
    import asyncio

    try:
        import uvloop
    except ImportError:  # Windows, PyPy
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


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


def _peak_rss() -> int:
    """Peak resident memory of this process in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
