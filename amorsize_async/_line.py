"""A worker's end of its line: calls come in by one pipe, and their answers go home by another, one after the other.

    frame: its length, 8 bytes ─► a pickle: (function, arguments) comes in, (answer, error) goes home

Standard library and our lowest floors only. Only ever fed by our own parent, over its private pipe.
"""

from __future__ import annotations

import os
import pickle
import select
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from ._pickling import PROTOCOL
from ._unpickling import loads

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ("HANG_UP", "HEADER", "Ends", "answer_calls")

HEADER = struct.Struct("<Q")
HANG_UP = HEADER.pack(0)
# What stands before each frame; and a frame of nothing, after which no call comes any more.

IDLE_SECONDS, MOST_SECONDS = 0.1, 1.0
# How long a worker stays on the line after its last call, and in all. Not for ever: what it does there is a call of its
# pool's, for which a program that ends without closing anything waits; and only the pool knows that it ends.

PATIENCE = 600
# Seconds in which the parent reads nothing of an answer that is larger than a pipe, until the worker gives up. A loop
# may be held for long, in a debugger say; but one that was left for good would keep the interpreter from ending.

STEP = 1 << 20
# Bytes that are read at once, at most.


class Ends(NamedTuple):
    """One side's ends of the two pipes: a worker reads calls and writes answers, its parent the other way round."""

    calls: Connection
    answers: Connection

    def close(self) -> None:
        """Close both."""
        self.calls.close()
        self.answers.close()


def answer_calls(ends: Ends) -> None:
    """Answer calls until none has come for a while, the other side hangs up, or it is time to be asked again."""
    until = time.monotonic() + MOST_SECONDS
    os.set_blocking(ends.answers.fileno(), False)
    waiting = select.poll()
    waiting.register(ends.calls.fileno(), select.POLLIN)
    while time.monotonic() < until and waiting.poll(1000 * IDLE_SECONDS):
        size = HEADER.unpack(_read(ends.calls.fileno(), HEADER.size))[0]
        if not size:
            return
        _answer(ends, size)


def _answer(ends: Ends, size: int) -> None:
    # What it had is let go of before the next wait, since it may be large.
    answer = _answered(_read(ends.calls.fileno(), size))
    _write(ends.answers.fileno(), HEADER.pack(len(answer)) + answer)


def _answered(pickled: bytes) -> bytes:
    try:
        function, arguments = loads(pickled)
        del pickled
        return pickle.dumps((function(*arguments), None), PROTOCOL)
    except Exception as exc:  # noqa: BLE001 - the worker's edge: ours do not raise but for want of memory, say
        return pickle.dumps((None, RuntimeError(f"{type(exc).__name__}: {exc}")), PROTOCOL)


def _read(descriptor: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = os.read(descriptor, min(size, STEP))
        if not part:
            raise EOFError("the parent has closed the line")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            _wait_for_room(descriptor)


def _wait_for_room(descriptor: int) -> None:
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    if not room.poll(1000 * PATIENCE):
        raise TimeoutError(f"the parent has read nothing for {PATIENCE} s")
