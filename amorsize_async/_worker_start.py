"""The start of a worker process: its signals, its death with the parent, its limits, then the user's initializer.

Imports what `_worker` imports, and no more.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.util import Finalize
from typing import Any

from . import _payload
from ._failures import Failure, failure_of, travelling
from ._worker import close_runner, state

__all__ = ("Hello", "Setup", "begin", "hello", "start_worker")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a new worker is told: its initializer (pickled with its arguments) and its number of inner threads."""

    initializer: bytes | None = None
    inner_threads: int | None = None


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker's first word: its pid, the seconds its initializer took, and why it cannot work."""

    pid: int
    seconds: float
    failure: Failure | None = None


def start_worker(setup: Setup, cell: Any) -> None:
    """Prepare this process: signals, the parent's death, thread limits, the cell, then the user's initializer."""
    began = time.perf_counter()
    _own_signals()
    _die_with_parent()
    _limit_inner_threads(setup.inner_threads)
    state.ours = True
    Finalize(None, close_runner, exitpriority=10)  # before multiprocessing joins what nested calls have started
    state.cell = memoryview(cell).cast("B").cast("q")
    failure = _run_initializer(setup.initializer)
    _hello.append(Hello(os.getpid(), time.perf_counter() - began, failure))


_hello: list[Hello] = []


def hello() -> Hello:
    """Answer that the worker is there; the first thing it is asked."""
    return _hello[0]


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
        return travelling(failure_of(0, exc))
    return None
