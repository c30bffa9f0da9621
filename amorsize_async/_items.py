"""Calls the user's function on the items of a chunk: one after the other, or all at once on a loop; the only place.

Standard library and our lowest floors only; asyncio is imported when a function is a coroutine function, not before.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ._chunk import CURRENT, STARTED, STOP, Cell, Chunk, ChunkReply
from ._failures import Failure, failure_of, unloadable_item
from .errors import ItemTimeoutError

if TYPE_CHECKING:
    import asyncio

__all__ = ("close_runner", "run_items")


def run_items(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    chunk: Chunk,
    *,
    cell: Cell,
    skip: dict[int, BaseException] | None = None,
    keeps_loop: bool = False,
) -> ChunkReply:
    """Call `function` on every item and measure it.

    skip: items that could not be unpickled, which fail unrun. keeps_loop: whether this process is a worker of ours, so
    that coroutines of all chunks share a loop of it, which ends with `close_runner`.
    """
    run = partial(_run_async, keeps_loop=keeps_loop) if chunk.is_async else _run_plain
    began, cpu_began = time.perf_counter(), time.thread_time()
    values, failures, together = run(function, items, chunk, skip or {}, cell)
    seconds, cpu_seconds = time.perf_counter() - began, time.thread_time() - cpu_began
    cell[CURRENT], cell[STARTED] = 0, time.monotonic_ns()  # what is left is to pickle the results
    return ChunkReply(
        values,
        len(values),
        tuple(failures),
        seconds,
        cpu_seconds,
        peak_rss=_peak_rss(),
        pid=_number(alone=keeps_loop),
        item_seconds=together or seconds,
    )


def _number(*, alone: bool) -> int:
    """Who ran a chunk: this process, or, where several workers may share one, this thread."""
    in_pool_of_processes = sys.platform != "linux" and threading.current_thread() is threading.main_thread()
    # On Linux the first thread of a process, where a pool of processes has its calls, has the process's number.
    return os.getpid() if alone or in_pool_of_processes else threading.get_native_id()


def _run_plain(
    function: Callable[[Any], Any], items: Sequence[Any], chunk: Chunk, skip: dict[int, BaseException], cell: Cell
) -> tuple[list[Any], list[Failure], float]:
    """One item after the other, `stride` at a time at the speed of `map`; a stride ends at a failing item."""
    values: list[Any] = []
    failures: list[Failure] = []
    timed = chunk.item_timeout is not None
    stride = 1 if skip or timed else chunk.stride
    clock, pid = time.perf_counter, os.getpid()
    deadline = clock() + chunk.budget
    while len(values) < len(items) and not cell[STOP] and (clock() < deadline or not values):
        offset = len(values)
        end = min(offset + stride, len(items))
        if timed:
            cell[STARTED] = time.monotonic_ns()
        cell[CURRENT] = chunk.start + offset + 1
        try:
            _call_in_turn(function, items, range(offset, end), values, chunk=chunk, skip=skip)
        except BaseException as exc:  # noqa: BLE001 - the worker's edge: the caller gets it as the item's own
            _end_if_forked(pid, exc)
            if len(values) == end:
                continue  # a signal handler raised it, when all were done: it is no item's
            failures.append(failure_of(len(values), exc))
            values.append(None)
            if chunk.stop_at_failure:
                break
        _end_if_forked(pid)
    return values, failures, 0.0


def _call_in_turn(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    offsets: range,
    values: list[Any],
    *,
    chunk: Chunk,
    skip: dict[int, BaseException],
) -> None:
    """Add what `function` gives for each of the items to `values`; what it raises is raised, behind those before it."""
    first = offsets.start
    if len(offsets) == 1:
        if first in skip:
            raise unloadable_item(chunk.start + first, skip[first])
        values.append(function(items[first]))
        return
    values.extend(map(function, items[first : offsets.stop]))
    if len(values) < offsets.stop:
        raise StopIteration  # the function raised it, and `map` took it for the end of its items


def _end_if_forked(pid: int, exc: BaseException | None = None) -> None:
    """End this process if a function forked it off the worker `pid`: what is left of the chunk is not its to run."""
    if os.getpid() == pid:
        return
    code = exc.code if isinstance(exc, SystemExit) else exc and 1
    os._exit(code if isinstance(code, int) else bool(code))


def _run_async(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    chunk: Chunk,
    skip: dict[int, BaseException],
    cell: Cell,
    *,
    keeps_loop: bool,
) -> tuple[list[Any], list[Failure], float]:
    """All items of the chunk at once, on this worker's own event loop; gives the sum of their times, too.

    An item that takes too long is cancelled; the cell tells when one began or ended, so that the parent sees a loop
    that one of them blocks.
    """
    from asyncio import ensure_future, gather

    failures: list[Failure] = []
    together, pid = 0.0, os.getpid()

    async def guarded(offset: int, item: Any) -> Any:
        nonlocal together
        cell[STARTED] = time.monotonic_ns()
        began = time.perf_counter()
        try:
            if offset in skip:
                raise unloadable_item(chunk.start + offset, skip[offset])
            return await _within(chunk.item_timeout, function(item), chunk.start + offset)
        except BaseException as exc:  # noqa: BLE001 - as in _run_plain
            _end_if_forked(pid, exc)
            failures.append(failure_of(offset, exc))
        finally:
            _end_if_forked(pid)
            together += time.perf_counter() - began
            cell[STARTED] = time.monotonic_ns()

    async def everything() -> list[Any]:
        tasks = [ensure_future(guarded(offset, item)) for offset, item in enumerate(items)]
        values = await gather(*tasks, return_exceptions=True)
        for offset, task in enumerate(tasks):
            if task.cancelled():  # by its own item, which did not wait after that
                failures.append(failure_of(offset, values[offset]))
                values[offset] = None
        return values

    if cell[STOP]:
        return [], [], 0.0
    cell[CURRENT] = chunk.start + 1
    values = _run_on_a_loop(everything, keeps_loop=keeps_loop)
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


def _run_on_a_loop(everything: Callable[[], Coroutine[Any, Any, list[Any]]], *, keeps_loop: bool) -> list[Any]:
    """Run on this worker's own loop, kept from chunk to chunk so that a function may keep a client bound to it.

    In threads, and in somebody else's processes, there is no end at which we could close it: a new one for each chunk.
    """
    try:
        if not keeps_loop:
            with _new_runner() as runner:
                return runner.run(everything())
        if not _kept:
            _kept.append(_new_runner())
        return _kept[0].run(everything())
    except (SystemExit, KeyboardInterrupt) as exc:  # an item's own does not come here; a loop passes on those of tasks
        close_runner()  # it was stopped half-way
        raise RuntimeError(f"a task that the function began raised {type(exc).__name__}") from exc


_kept: list[asyncio.Runner] = []
# This worker's own loop, once it has one.


def close_runner() -> None:
    """Close this worker's own loop, and with it what nested calls have opened on it; at the end of the process."""
    while _kept:
        _kept.pop().close()


def _new_runner() -> asyncio.Runner:
    import asyncio

    try:
        import uvloop
    except ImportError:  # Windows, PyPy
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _peak_rss() -> int:
    """Peak resident memory of this process in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
