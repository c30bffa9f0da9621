"""Lets a signal wake the event loop of a Jupyter kernel, so that its Stop button acts at once; elsewhere, nothing.

ipykernel's handler of an interrupt only adds a callback to the loop of its main thread. A loop that waits for workers
and nothing else does not notice until the next reply, which may be minutes away. Python can write a byte to a socket
whenever a signal arrives (`signal.set_wakeup_fd`), and a loop that listens to that socket wakes.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from contextlib import suppress
from types import TracebackType

__all__ = ("woken_by_signals",)

NOBODY = -1
# What `set_wakeup_fd` gives and takes where nobody is told of signals.


class woken_by_signals:  # noqa: N801 - used as a function; no generator, since those set what is frozen in exceptions
    """While this is entered, a signal ends the running loop's wait: in the main thread of a Jupyter kernel only.

    May be entered many times at once. Who is told of signals already, asyncio's own handlers for example, stays so.
    """

    def __enter__(self) -> None:
        self._bell = _bell() if _concerns_us() else None
        if self._bell is not None:
            self._bell.holders += 1

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bell is not None:
            self._bell.holders -= 1
            if not self._bell.holders:
                self._bell.close()


class _Bell:
    """A pair of sockets: one that signals write to, one that the loop listens to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.holders = 0
        self._loop = loop
        self._ear, self.mouth = socket.socketpair()
        self._ear.settimeout(0)
        self.mouth.settimeout(0)
        loop.add_reader(self._ear, self._hear)
        _bells[loop] = self

    def __repr__(self) -> str:
        return f"<_Bell of {self.holders}>"

    def _hear(self) -> None:
        """Take the bytes away: that the loop woke was all they were for."""
        with suppress(BlockingIOError):
            self._ear.recv(4096)

    def close(self) -> None:
        """Have signals write here no more, unless somebody else took over meanwhile."""
        told = signal.set_wakeup_fd(NOBODY)
        if told != self.mouth.fileno():
            signal.set_wakeup_fd(told)
        del _bells[self._loop]
        self._loop.remove_reader(self._ear)
        self._ear.close()
        self.mouth.close()


_bells: dict[asyncio.AbstractEventLoop, _Bell] = {}


def _concerns_us() -> bool:
    return "ipykernel" in sys.modules and threading.current_thread() is threading.main_thread()


def _bell() -> _Bell | None:
    """The running loop's bell, hung up if it has none yet; None where somebody else is told of signals."""
    loop = asyncio.get_running_loop()
    if loop in _bells:
        return _bells[loop]
    told = signal.set_wakeup_fd(NOBODY)
    if told != NOBODY:
        signal.set_wakeup_fd(told)
        return None
    bell = _Bell(loop)
    signal.set_wakeup_fd(bell.mouth.fileno(), warn_on_full_buffer=False)
    return bell
