"""The loop's end of a line to a worker: calls go out and answers come home by two pipes, with no thread in between.

A `ProcessPoolExecutor` takes each call through two threads and two queues, and its answer through one of them: they
want the interpreter while the loop has it, and cost half a millisecond of CPU a call. Here it starts the process, tells
of its death and reaps it; and it is asked for one call only, to be on the line for as long as calls come.

    submit ─► pipe ─┄ worker: Answering ┄─► pipe ─► _readable, on the loop ─► the call's future
                 └┄┄ pool.submit(on_the_line), when nobody is there ┄┄ broken: all that is out is
"""

from __future__ import annotations

import asyncio
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import Any

from .._line import HANG_UP, HEADER, Ends
from .._pickling import PROTOCOL, Output
from .._unpickling import loads

__all__ = ("Line",)

AT_ONCE = 1 << 16
# Bytes that are read at one turn of the loop: what a pipe holds.

NO_ANSWER = 1 << 44
# Bytes that no answer has: what is read as its length is something else.


class Line(Executor):
    """Runs calls in one worker, in their order. All methods are called on the loop.

    serving: has somebody there answer, and gives the future of that. Raises NotImplementedError where the loop cannot
    watch pipes, and has taken nothing then.
    """

    def __init__(self, ends: Ends, serving: Callable[[], Future[Any]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends = ends
        self._serving = serving
        self._is_served = False
        self._open = True
        self._out: deque[Future[Any]] = deque()
        self._unsent: deque[memoryview] = deque()
        self._heard = bytearray()
        self._dropping = 0
        os.set_blocking(ends.calls.fileno(), False)
        os.set_blocking(ends.answers.fileno(), False)
        self._watch(self._loop.add_reader, ends.answers.fileno(), self._readable)

    def __repr__(self) -> str:
        state = "closed" if not self._open else "served" if self._is_served else "idle"
        return f"<Line {state}, {len(self._out)} calls out>"

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send a call; raises BrokenProcessPool when nobody is there any more, and TypeError for keyword arguments."""
        if kwargs:
            raise TypeError("calls on a line have no keyword arguments; use functools.partial")
        if not self._open:
            raise BrokenProcessPool("the worker is gone")
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            frame = _framed((fn, args))
        except Exception as exc:  # noqa: BLE001 - for want of memory, say: it is this call's, as in any pool
            future.set_exception(exc)
            return future
        with self._whole():
            self._out.append(future)
            self._send(frame)
            self._serve()
        return future

    def hang_up(self) -> None:
        """Tell the worker that no call comes any more; one that is busy with something else does not hear it."""
        if self._open and self._is_served:
            with suppress(OSError, RuntimeError, ValueError), self._whole():  # the loop may watch nothing any more
                self._send([memoryview(HANG_UP)])

    def close(self) -> None:
        """Close the pipes; what is out is broken."""
        self._break("the worker is gone")
        self._ends.close()

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Do all of something, or break the line: a KeyboardInterrupt comes anywhere, and half a frame is never healed.

        A loop may go on after one, as that of a notebook does.
        """
        try:
            yield
        except BaseException:
            self._break("the line to the worker was interrupted")
            raise

    def _watch(self, add: Callable[..., Any], descriptor: int, callback: Callable[[], None]) -> None:
        """Watch a pipe; in a context of its own, or the line would keep what that of its first call holds."""
        Context().run(add, descriptor, callback)

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, parts: list[memoryview]) -> None:
        waiting = bool(self._unsent)
        self._unsent += parts
        if not waiting and not self._sent_all():
            self._watch(self._loop.add_writer, self._ends.calls.fileno(), self._writable)

    def _writable(self) -> None:
        with self._whole():
            if self._sent_all():
                self._loop.remove_writer(self._ends.calls.fileno())

    def _sent_all(self) -> bool:
        """Write what the pipe takes now; tells whether that was all."""
        while self._unsent:
            part = self._unsent.popleft()
            try:
                written = os.write(self._ends.calls.fileno(), part)
            except BlockingIOError:
                written = 0
            except OSError as exc:
                self._break(str(exc))
                return True
            if written < len(part):
                self._unsent.appendleft(part[written:])
                return False
        return True

    # ── whether somebody is there ────────────────────────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        """Have somebody there, if nobody is."""
        if self._is_served or not self._open:
            return
        try:
            serving = self._serving()
        except RuntimeError as exc:  # it is broken, or the interpreter is ending
            self._break(str(exc))
            return
        self._is_served = True
        serving.add_done_callback(self._tell)

    def _tell(self, serving: Future[Any]) -> None:
        """Called by the pool's thread, which may outlive the loop."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._served, serving)

    def _served(self, serving: Future[Any]) -> None:
        self._is_served = False
        if not self._open:
            return
        with self._whole():
            self._hear_all()
            if serving.cancelled() or serving.exception() is not None:
                self._break("the worker is gone" if serving.cancelled() else str(serving.exception()))
            elif self._out:  # sent while the worker went
                self._serve()

    def _break(self, why: str) -> None:
        if not self._open:
            return
        self._open = False
        with suppress(RuntimeError):  # the loop is closed
            self._loop.remove_reader(self._ends.answers.fileno())
            self._loop.remove_writer(self._ends.calls.fileno())
        self._unsent.clear()
        while self._out:
            future = self._out.popleft()
            if not future.done():  # done: we were interrupted before we had noted that
                future.set_exception(BrokenProcessPool(why))

    # ── home ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _readable(self) -> None:
        with self._whole():
            if self._hear() == b"":
                self._break("the worker has closed the line")

    def _hear_all(self) -> None:
        """Hear what was said before the worker went."""
        while self._hear():
            pass

    def _hear(self) -> bytes | None:
        """Read some of what is there: nothing at its end, None if somebody may say more."""
        try:
            data = os.read(self._ends.answers.fileno(), AT_ONCE)
        except BlockingIOError:
            return None
        self._keep(data)
        while len(self._heard) >= HEADER.size:
            end = HEADER.size + HEADER.unpack_from(self._heard)[0]
            if end > NO_ANSWER:
                self._break("something else wrote to the descriptor that it answers by")
                break
            if len(self._heard) < end:
                break
            with memoryview(self._heard) as view, view[HEADER.size : end] as pickled:
                self._answer(pickled)
            del self._heard[:end]
        return data

    def _keep(self, data: bytes) -> None:
        """Keep what was read; what there is no memory for fails, and its rest is read and not kept."""
        if self._dropping:
            dropped = min(self._dropping, len(data))
            self._dropping -= dropped
            data = data[dropped:]
        try:
            self._heard += data
        except MemoryError as exc:
            missing = HEADER.size + HEADER.unpack_from(self._heard)[0] - len(self._heard)
            self._heard = bytearray(data[missing:])
            self._dropping = max(0, missing - len(data))
            self._out.popleft().set_exception(exc)

    def _answer(self, pickled: memoryview) -> None:
        future = self._out[0]
        try:
            answer, error = loads(pickled)  # of our own child, over its private pipe
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is this call's
            answer, error = None, exc
        if error is None:
            future.set_result(answer)
        else:
            future.set_exception(error)
        self._out.popleft()


def _framed(call: object) -> list[memoryview]:
    """A call, as a frame."""
    sent = Output()
    sent.begin(None)
    pickle.Pickler(sent, PROTOCOL).dump(call)
    header = HEADER.pack(sent.size)
    parts = [header + sent.parts[0]] if len(sent.parts) == 1 else [header, *sent.parts]
    return [memoryview(part) for part in parts]
