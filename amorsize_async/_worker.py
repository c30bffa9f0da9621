"""What a worker process runs: it unpickles a chunk, calls the user's function on its items, and sends values back.

The only place that calls the user's function. Standard library and `_payload` only: a worker imports neither anyio nor
asyncio unless the function does (or is a coroutine function).

    Chunk ──► run_chunk ──► _function (cached by digest) ──► run_items ──► ChunkReply
                                                               │
                                              cell: the index it is on; "stop" from the parent
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from . import _payload
from .errors import RemoteError, RemoteTraceback, UnpicklableError

if TYPE_CHECKING:
    import asyncio

__all__ = (
    "CELL_WORDS",
    "CURRENT",
    "STOP",
    "Cell",
    "Chunk",
    "ChunkReply",
    "Failure",
    "Hello",
    "Setup",
    "begin",
    "hello",
    "received",
    "run_chunk",
    "run_items",
    "start_worker",
)

CURRENT, STOP, CELL_WORDS = 0, 1, 2
# The words of the cell, the small memory that a worker shares with its parent: the index of the item it is on, plus
# one (0: none), and whether the parent asks it to stop between items.

CACHED_FUNCTIONS = 16
# Functions a worker keeps unpickled. Few, because one may hold an array; a service rarely alternates among more.


class Cell(Protocol):
    """A few words of memory, shared with the parent (a memoryview) or not (a list)."""

    def __getitem__(self, word: int, /) -> int: ...

    def __setitem__(self, word: int, value: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """A contiguous run of items on its way to a worker.

    start: index of its first item in the input. count: its items. digest: names the function. function: the pickled
    function, None if the worker should have it. items: the parcel. is_async: the function gives coroutines.
    stop_at_failure: leave at the first failing item. stride: items between two looks at the cell (1: exact blame).
    unsent: offsets of items that could not be pickled; they fail unrun. budget: seconds after which the rest is sent
    back unrun, so that a chunk that was sized by a wrong guess does not hold its worker for long.
    """

    start: int
    count: int
    digest: bytes
    function: bytes | None
    items: _payload.Parcel
    is_async: bool = False
    stop_at_failure: bool = True
    stride: int = 1
    unsent: tuple[int, ...] = ()
    budget: float = math.inf


@dataclass(frozen=True, slots=True)
class Failure:
    """One item that failed: its offset in the chunk, its exception (pickled, if it travels), the traceback as text."""

    offset: int
    exception: BaseException | bytes
    traceback: str


@dataclass(frozen=True, slots=True)
class ChunkReply:
    """What came of a chunk, as the worker measured it.

    values: the parcel of results, None where an item failed; `done` of them. failures: one record each.
    seconds, cpu_seconds: wall and CPU time inside the function. bytes_in, bytes_out: sizes of the parcels.
    peak_rss: the most memory the process has held, bytes. pid: who ran it.
    packed: whether the values are pickled. refused: why nothing was run: "" (it was), "function" (not in the cache),
    "items" (do not unpickle whole).
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
    packed: bool = False
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a new worker is told: its initializer (pickled with its arguments) and its number of inner threads."""

    initializer: bytes | None = None
    inner_threads: int | None = None
    die_with_parent: bool = True


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker's first word: its pid, the seconds its initializer took, and why it cannot work."""

    pid: int
    seconds: float
    failure: Failure | None = None


@dataclass(slots=True)
class _State:
    """All that a worker process remembers between chunks."""

    cell: Cell
    functions: OrderedDict[bytes, Callable[[Any], Any]]
    hello: Hello | None = None
    runner: asyncio.Runner | None = None


_state = _State([0] * CELL_WORDS, OrderedDict())


# ── the start of a worker ────────────────────────────────────────────────────────────────────────────────────────────


def start_worker(setup: Setup, cell: Any) -> None:
    """Prepare this process: signals, the parent's death, thread limits, the cell, then the user's initializer."""
    began = time.perf_counter()
    _own_signals()
    if setup.die_with_parent:
        _die_with_parent()
    _limit_inner_threads(setup.inner_threads)
    _state.cell = memoryview(cell).cast("B").cast("q")
    failure = _run_initializer(setup.initializer)
    _state.hello = Hello(os.getpid(), time.perf_counter() - began, failure)


def hello() -> Hello:
    """Answer that the worker is there; the first thing it is asked."""
    return _state.hello or Hello(os.getpid(), 0.0)


def begin() -> int:
    """Do nothing, somewhere else: what makes a foreign executor start its workers before they are needed."""
    return os.getpid()


def _own_signals() -> None:
    """Ctrl-C is for the parent, which then stops its workers; SIGTERM must not run a handler forked from a server."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when the parent is gone, however it went and whatever runs here.

    The sentinel is a pipe whose other end only the parent holds. With O_ASYNC its closing is a signal, and F_SETSIG
    makes that signal SIGKILL; unlike PR_SET_PDEATHSIG it follows the parent process, not the thread that started us.
    """
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is None or not sys.platform.startswith("linux"):
        return
    import fcntl

    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(parent.sentinel, fcntl.F_GETFL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)


def _limit_inner_threads(threads: int | None) -> None:
    """Keep numerical libraries from starting a thread per core in every worker; what the user set stays."""
    if threads is None:
        return
    for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR"):
        os.environ.setdefault(f"{library}_NUM_THREADS", str(threads))
    os.environ.setdefault("VECLIB_MAXIMUM_THREADS", str(threads))


def _run_initializer(pickled: bytes | None) -> Failure | None:
    if pickled is None:
        return None
    try:
        initializer, initargs = _payload.loads(pickled)
        initializer(*initargs)
    except BaseException as exc:  # noqa: BLE001 - the worker's edge: the parent raises it, as the cause
        return _travelling(_failure(0, exc))
    return None


# ── a chunk ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def run_chunk(chunk: Chunk) -> ChunkReply:
    """Run a pickled chunk; whatever the user's code does short of killing the process comes back in the reply."""
    function = _function(chunk)
    if function is None:
        return ChunkReply([], 0, refused="function", pid=os.getpid())
    try:
        items, failed = _payload.load_parcel(chunk.items)
    except BaseException:  # noqa: BLE001 - the worker's edge: the parent sends the items again, one by one
        return ChunkReply([], 0, refused="items", pid=os.getpid())
    failed.update((offset, _NOT_SENT) for offset in chunk.unsent)
    reply = run_items(function, items, chunk, skip=failed)
    return _packed(reply, _payload.parcel_size(chunk.items))


_NOT_SENT = RemoteError("not sent")
# Stands for what went wrong in the parent, which knows it better.


def _function(chunk: Chunk) -> Callable[[Any], Any] | None:
    """The chunk's function: from the cache, or from its pickle. None: not here, the parent must send it."""
    functions = _state.functions
    if chunk.digest in functions:
        functions.move_to_end(chunk.digest)
        return functions[chunk.digest]
    if chunk.function is None:
        return None
    try:
        functions[chunk.digest] = _payload.loads(chunk.function)
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
        reason = f"the function cannot be unpickled in the worker: {type(self.cause).__name__}: {self.cause}"
        advice = "make its module importable there (sys.path of the parent is used), or define it in __main__"
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
    cell = _state.cell if cell is None else cell
    loop = _run_async if chunk.is_async else _run_plain
    began, cpu_began = time.perf_counter(), time.thread_time()
    values, failures = loop(function, items, chunk, skip or {}, cell)
    seconds, cpu_seconds = time.perf_counter() - began, time.thread_time() - cpu_began
    return ChunkReply(values, len(values), tuple(failures), seconds, cpu_seconds, peak_rss=_peak_rss(), pid=os.getpid())


def _run_plain(
    function: Callable[[Any], Any], items: Sequence[Any], chunk: Chunk, skip: dict[int, BaseException], cell: Cell
) -> tuple[list[Any], list[Failure]]:
    """One item after the other, `stride` at a time at the speed of `map`; a stride ends at a failing item."""
    values: list[Any] = []
    failures: list[Failure] = []
    stride = 1 if skip else chunk.stride
    clock = time.perf_counter
    deadline = clock() + chunk.budget
    while len(values) < len(items) and not cell[STOP] and (clock() < deadline or not values):
        offset = len(values)
        cell[CURRENT] = chunk.start + offset + 1
        try:
            if stride == 1:
                if offset in skip:
                    raise _unloadable_item(chunk.start + offset, skip[offset])
                values.append(function(items[offset]))
            else:
                values.extend(map(function, items[offset : offset + stride]))
                if len(values) < min(offset + stride, len(items)):
                    raise StopIteration  # the function raised it, and `map` took it for the end of its items
        except BaseException as exc:  # noqa: BLE001 - the worker's edge: the caller gets it as the item's own
            failures.append(_failure(len(values), exc))
            values.append(None)
            if chunk.stop_at_failure:
                break
    cell[CURRENT] = 0
    return values, failures


def _run_async(
    function: Callable[[Any], Any], items: Sequence[Any], chunk: Chunk, skip: dict[int, BaseException], cell: Cell
) -> tuple[list[Any], list[Failure]]:
    """All items of the chunk at once, on this worker's own event loop."""
    from asyncio import gather

    failures: list[Failure] = []

    async def guarded(offset: int, item: Any) -> Any:
        try:
            if offset in skip:
                raise _unloadable_item(chunk.start + offset, skip[offset])
            return await function(item)
        except BaseException as exc:  # noqa: BLE001 - as in _run_plain
            failures.append(_failure(offset, exc))

    async def everything() -> list[Any]:
        return await gather(*(guarded(offset, item) for offset, item in enumerate(items)))

    if cell[STOP]:
        return [], []
    cell[CURRENT] = chunk.start + 1
    values = _run_on_a_loop(everything)
    cell[CURRENT] = 0
    return values, sorted(failures, key=lambda failure: failure.offset)


def _run_on_a_loop(everything: Callable[[], Coroutine[Any, Any, list[Any]]]) -> list[Any]:
    """Run on this worker's own loop, kept from chunk to chunk so that a function may keep a client bound to it.

    In threads, and in somebody else's processes, there is no end at which we could close it: a new one for each chunk.
    """
    if _state.hello is None:
        with _new_runner() as runner:
            return runner.run(everything())
    if _state.runner is None:
        _state.runner = _new_runner()
    return _state.runner.run(everything())


def _new_runner() -> asyncio.Runner:
    import asyncio

    try:
        import uvloop
    except ImportError:  # Windows, PyPy
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _packed(reply: ChunkReply, bytes_in: int) -> ChunkReply:
    """The reply with its values and failures pickled; a result that cannot be is that item's failure."""
    values = reply.values
    parcel, refused = _payload.pack_values(values)
    failures = {failure.offset: failure for failure in reply.failures}
    for offset, exc in refused.items():
        failures[offset] = _failure(offset, _payload.unpicklable("result", values[offset], exc))
    return replace(
        reply,
        values=parcel,
        packed=True,
        failures=tuple(_travelling(failures[offset]) for offset in sorted(failures)),
        bytes_in=bytes_in,
        bytes_out=_payload.parcel_size(parcel),
    )


def _peak_rss() -> int:
    """Peak resident memory of this process in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# ── exceptions on their way to the parent ────────────────────────────────────────────────────────────────────────────


def _failure(offset: int, exc: BaseException) -> Failure:
    """Note the exception of an item with its traceback, without this module's own frames on top."""
    frames = exc.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__ and frames.tb_next is not None:
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(exc), exc, frames))
    return Failure(offset, exc if _may_be_raised(exc) else _stand_in(exc), text)


def _may_be_raised(exc: BaseException) -> bool:
    """Whether a coroutine may raise it: what is no `Exception` would end the caller's program, not its call.

    `StopIteration` would come out as another error (PEP 479), and `CancelledError`, no `Exception` either, would look
    like a cancellation of the caller's own task.
    """
    return isinstance(exc, Exception) and not isinstance(exc, StopIteration | StopAsyncIteration)


def _travelling(failure: Failure) -> Failure:
    """The failure with its exception as a pickle that was proved to load, or as the pickle of a stand-in."""
    exc = failure.exception
    try:
        data = _payload.dumps(exc)
        if type(_payload.loads(data)) is not type(exc):
            data = _payload.dumps(_stand_in(exc))
    except BaseException:  # noqa: BLE001 - a hostile `__reduce__` or `__init__` may raise anything
        data = _payload.dumps(_stand_in(exc))
    return replace(failure, exception=data)


def _stand_in(exc: BaseException | bytes) -> RemoteError:
    name = type(exc).__qualname__
    try:
        text = str(exc)
    except BaseException:  # noqa: BLE001 - `__str__` is user code
        text = "its text cannot be made"
    return RemoteError(f"{name}: {text}" if text else name, type_name=name)


def _unloadable_item(index: int, cause: BaseException) -> UnpicklableError:
    reason = f"item {index} cannot be unpickled in the worker: {type(cause).__name__}: {cause}"
    error = UnpicklableError(f"{reason}; make its class importable there", subject="item", path="item")
    error.__cause__ = cause
    return error


def received(failure: Failure, index: int) -> BaseException:
    """The exception of a failure in the parent: the user's own, with the remote traceback and a note with the index."""
    exc = failure.exception
    if isinstance(exc, bytes):
        try:
            exc = _payload.loads(exc)
        except BaseException as cause:  # noqa: BLE001 - it loaded in the worker; here its module may be another
            exc = RemoteError(f"the exception of item {index} cannot be unpickled here: {cause}")
        exc.__cause__ = RemoteTraceback(failure.traceback)
    exc.add_note(f"amorsize_async: raised for item {index}")
    return exc
