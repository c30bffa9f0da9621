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
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from ._pickling import PROTOCOL
from ._unpickling import loads

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ("HANG_UP", "HEADER", "Answering", "Ends")

HEADER = struct.Struct("<Q")
HANG_UP = HEADER.pack(0)
# What stands before each frame; and a frame of nothing, after which no call comes any more.

IDLE_SECONDS, MOST_SECONDS = 0.1, 1.0
# How long a worker stays on the line while nothing moves there, be it in the middle of a frame, and in all. Not for
# ever: it is there for a call of its pool's, which a program that ends without closing anything waits for; and only the
# pool knows that it ends.

STEP = 1 << 20
# Bytes that are read at once, at most, and that are worth no copy.


class Ends(NamedTuple):
    """One side's ends of the two pipes: a worker reads calls and writes answers, its parent the other way round.

    kept: what only has to be open: whoever writes where nobody could read is killed by SIGPIPE, if the application has
    that as command-line tools like it.
    """

    calls: Connection
    answers: Connection
    kept: Connection | None = None

    def close(self) -> None:
        """Close all."""
        for end in self:
            if end is not None:
                end.close()


class Answering:
    """Answers calls, and knows how far it has come with one when it goes."""

    def __init__(self, ends: Ends) -> None:
        self._calls, self._answers = ends.calls.fileno(), ends.answers.fileno()
        self._ends = ends  # which close when nobody has them
        self._header = bytearray(HEADER.size)
        self._call: bytearray | None = None
        self._come = self._dropping = 0
        # What is heard: a header, then a call, with what has come of the one or the other; or, for want of memory,
        # bytes of a call that are not kept.
        self._unsaid: deque[memoryview] = deque()
        self._news, self._room = select.poll(), select.poll()
        self._news.register(self._calls, select.POLLIN)
        self._room.register(self._answers, select.POLLOUT)
        os.set_blocking(self._answers, False)

    def __repr__(self) -> str:
        return f"<Answering {self._come} bytes heard, {sum(map(len, self._unsaid))} unsaid>"

    def go_on(self) -> None:
        """Answer calls until nothing moves for a while, the other side hangs up, or it is time to be asked again."""
        until = time.monotonic() + MOST_SECONDS
        while self._said_all() and time.monotonic() < until and self._heard_one():
            self._answer()

    def _said_all(self) -> bool:
        """Say what is left of the last answer; False if nobody reads it now."""
        while self._unsaid:
            part = self._unsaid[0]
            try:
                said = os.write(self._answers, part)
            except BlockingIOError:
                if not self._room.poll(1000 * IDLE_SECONDS):
                    return False
                continue
            if said < len(part):
                self._unsaid[0] = part[said:]
            else:
                self._unsaid.popleft()
        return True

    def _heard_one(self) -> bool:
        """Hear a call, or that it is too large for us; False if none comes now, or none at all any more."""
        if self._call is None and not self._dropping:
            if not self._has_filled(self._header):
                return False
            self._come = 0
            self._make_room(HEADER.unpack(self._header)[0])
        if self._dropping:
            return self._has_dropped()
        return self._call is not None and self._has_filled(self._call)

    def _make_room(self, size: int) -> None:
        try:
            self._call = bytearray(size) if size else None
        except MemoryError:
            self._dropping = size

    def _has_filled(self, frame: bytearray) -> bool:
        while self._come < len(frame):
            if not self._news.poll(1000 * IDLE_SECONDS):
                return False
            read = os.readv(self._calls, [memoryview(frame)[self._come : self._come + STEP]])
            if not read:
                raise EOFError("the parent has closed the line")
            self._come += read
        return True

    def _has_dropped(self) -> bool:
        """Read what there is no memory for, to hear what comes behind it."""
        while self._dropping:
            if not self._news.poll(1000 * IDLE_SECONDS):
                return False
            part = os.read(self._calls, min(self._dropping, STEP))
            if not part:
                raise EOFError("the parent has closed the line")
            self._dropping -= len(part)
        return True

    def _answer(self) -> None:
        # What was heard is let go of before it is done, and what came of it before the next wait: it may be large.
        heard, self._call, self._come = self._call, None, 0
        try:
            if heard is None:
                raise MemoryError("the worker has none for a call as large as this one")
            function, arguments = loads(heard)
            del heard
            answer = pickle.dumps((function(*arguments), None), PROTOCOL)
        except Exception as exc:  # noqa: BLE001 - the worker's edge: ours do not raise but for want of memory, say
            answer = pickle.dumps((None, _told_of(exc)), PROTOCOL)
        header = HEADER.pack(len(answer))
        parts = (header, answer) if len(answer) > STEP else (header + answer,)
        self._unsaid += map(memoryview, parts)


def _told_of(error: Exception) -> Exception:
    """An error in words, since it may not travel; want of memory is told of as such."""
    return MemoryError(*error.args) if type(error) is MemoryError else RuntimeError(f"{type(error).__name__}: {error}")
