"""Lets a signal wake the event loop while a call waits for workers and for nothing else.

Python handles a signal between two of its instructions, in the main thread. One that comes an instant before the loop
begins to wait there, or in another thread, is not seen until something else wakes the loop, which may be minutes away:
Ctrl-C seems to be lost, as does the Stop button of a notebook, whose handler only adds a callback to the loop. Python
can write a byte to a socket whenever a signal arrives (`signal.set_wakeup_fd`), and a loop that listens to that wakes.
uvloop does so, and asyncio while it has a handler by `loop.add_signal_handler`; for all others it is done here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from types import TracebackType

__all__ = ("woken_by_signals",)

NOBODY = -1
# What `set_wakeup_fd` gives and takes where nobody is told of signals.

MANY = 4096
# Bytes that are taken from a socket at once: one is written for each signal, and nobody has sent so many.


class woken_by_signals:  # noqa: N801 - used as a function; no generator, since those set what is frozen in exceptions
    """While this is entered, a signal ends the running loop's wait; in the main thread, where Python handles signals.

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
        self.loop = loop
        self._process = os.getpid()
        self._hung = False
        self._ear, self._mouth = socket.socketpair()
        self._ear.settimeout(0)
        self._mouth.settimeout(0)

    def __repr__(self) -> str:
        return f"<_Bell of {self.holders}>"

    @property
    def mouth(self) -> int:
        """The descriptor that signals write to."""
        return self._mouth.fileno()

    def hang(self) -> bool:
        """Have signals write here, and the loop listen; False where it cannot, or somebody else is told already."""
        self._heard()  # what came before is nobody else's
        try:
            told = self._take()
        except ValueError:  # a subinterpreter: signals are not handled there
            return False
        listens = False
        try:
            if told in (NOBODY, self.mouth):
                with suppress(NotImplementedError, OSError):
                    self.loop.add_reader(self._ear, self._heard)
                    self._hung = listens = True
        finally:
            if not listens:
                self._leave_to(told)
        return listens

    def close(self) -> None:
        """Have signals write here no more, unless somebody else took over meanwhile."""
        if self._process != os.getpid() or self._ear.fileno() < 0:  # it is the parent's of a fork, or closed already
            return
        if self._hung:
            self._heard()
            try:
                told = self._take()
            except ValueError:  # collected in another thread, with a loop that was abandoned: see _bell
                return
            ours = told in (NOBODY, self.mouth)
            self._leave_to(NOBODY if ours else told)
            if not ours and self.loop.is_closed():
                return  # who took over from a loop that is no more may give back what was there before, which is this
            self.loop.remove_reader(self._ear)
        _bells.pop(self.loop, None)
        self._ear.close()
        self._mouth.close()

    def _take(self) -> int:
        """Have signals write here; gives where they wrote before."""
        return signal.set_wakeup_fd(self.mouth, warn_on_full_buffer=False)

    def _leave_to(self, told: int) -> None:
        """Have signals write there again, and pass on what came in between: somebody's SIGTERM may be among it."""
        try:
            signal.set_wakeup_fd(told)
        except (OSError, ValueError):  # whoever was told is gone
            signal.set_wakeup_fd(NOBODY)
        else:
            if told != NOBODY and (came := self._heard()):
                with suppress(OSError):
                    os.write(told, came)

    def _heard(self) -> bytes:
        """Take the bytes away; for us, that the loop woke was all they were for."""
        with suppress(BlockingIOError):
            return self._ear.recv(MANY)
        return b""


_bells: dict[asyncio.AbstractEventLoop, _Bell] = {}


def _concerns_us() -> bool:
    """Whether signals are handled in this thread; loops of Windows see to it themselves."""
    return sys.platform != "win32" and threading.current_thread() is threading.main_thread()


def _bell() -> _Bell | None:
    """The running loop's bell, hung up if it has none yet; None where there can be none, or somebody else has one."""
    loop = asyncio.get_running_loop()
    bell = _bells.get(loop)
    if bell is None:
        for abandoned in [each for each in _bells.values() if each.loop.is_closed()]:
            abandoned.close()
        try:
            bell = _bells[loop] = _Bell(loop)  # held from the first, since a Ctrl-C may come before it is hung
        except OSError:  # no descriptor is left: the call may go on without
            return None
    if bell.hang():
        return bell
    if not bell.holders:
        bell.close()
    return None


def _forked() -> None:
    """In a fork of this application: its signals are its own, and what is hung up is the parent's."""
    if _bells:
        mouths = {bell.mouth for bell in _bells.values()}
        _bells.clear()
        told = signal.set_wakeup_fd(NOBODY)
        if told not in mouths:
            signal.set_wakeup_fd(told)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
