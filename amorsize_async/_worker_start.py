"""The start of a worker process: its signals, its death with the parent, its limits, then the user's initializer.

Imports what `_worker` and `_line` import, and no more.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from typing import Any

from . import _payload
from ._failures import Failure, failure_of, travelling
from ._items import close_runner
from ._line import Answering, Ends
from ._worker import state

__all__ = ("Hello", "Initializer", "Setup", "begin", "hello", "on_the_line", "start_worker")


Initializer = bytes | tuple[bytes, tuple[Any, ...]]
# A pickled pair of function and arguments; or the arguments as they are, if only multiprocessing can pickle them.


@dataclass(frozen=True, slots=True)
class Setup:
    """What a new worker is told.

    initializer: see `Initializer`. inner_threads: threads for numerical libraries, None to leave them alone.
    n_jobs: workers of an executor that is made in this worker. depth: how many workers deep this one is, from 1.
    environ: the parent's environment now; None to keep what there is.
    """

    initializer: Initializer | None = None
    inner_threads: int | None = None
    n_jobs: int = 1
    depth: int = 1
    environ: dict[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker's first word: its pid, the seconds its initializer took, and why it cannot work."""

    pid: int
    seconds: float
    failure: Failure | None = None


def start_worker(setup: Setup, cell: Any, mouth: Any, line: Ends | None) -> None:
    """Prepare this process: signals, the parent's death, last words, limits, the cell, then the user's initializer."""
    began = time.perf_counter()
    _line[:] = [] if line is None else [Answering(line)]  # not behind those of a worker that we were forked from
    _own_signals()
    _die_with_parent()
    _speak_when_dying(mouth)
    _take_over(setup.environ)
    _limit_inner_threads(setup.inner_threads)
    state.ours, state.n_jobs, state.depth = True, setup.n_jobs, setup.depth
    Finalize(None, close_runner, exitpriority=11)
    # Before multiprocessing joins what nested calls have started, and before its queues stop sending, at 10: by one of
    # them a pool that coroutines opened here tells its workers to end.
    state.cell = memoryview(cell).cast("B").cast("q")
    failure = _run_initializer(setup.initializer)
    _hello[:] = [Hello(os.getpid(), time.perf_counter() - began, failure)]


_line: list[Answering] = []
_hello: list[Hello] = []


def hello() -> Hello:
    """Answer that the worker is there; the first thing it is asked."""
    return _hello[0]


def on_the_line() -> None:
    """Answer the calls that come by the line, for as long as they do."""
    _line[0].go_on()


def begin() -> int:
    """Do nothing, somewhere else: what makes a foreign executor start its workers before they are needed."""
    return os.getpid()


def _own_signals() -> None:
    """Ctrl-C is for the parent, which then stops its workers; SIGTERM must not run a handler forked from a server."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _die_with_parent() -> None:
    """Have this process end when the parent is gone, however it went."""
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is None:
        return
    if sys.platform.startswith("linux"):
        _be_killed_at_the_end_of(parent.sentinel)
    else:
        threading.Thread(target=_watch, args=(parent.sentinel,), name="amorsize-parent", daemon=True).start()


def _be_killed_at_the_end_of(sentinel: int) -> None:
    """Ask the kernel to kill this process when the parent is gone, whatever runs here.

    The sentinel is a pipe whose other end only the parent holds. With O_ASYNC its closing is a signal, and F_SETSIG
    makes that signal SIGKILL; unlike PR_SET_PDEATHSIG it follows the parent process, not the thread that started us.
    """
    import fcntl
    from multiprocessing.connection import wait

    fcntl.fcntl(sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(sentinel, fcntl.F_GETFL)
    fcntl.fcntl(sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)
    if wait([sentinel], 0):  # it went before the kernel was asked: there will be no signal
        os._exit(1)


def _watch(sentinel: int) -> None:
    """The same where the kernel has no such help: a thread, which C code that holds the interpreter keeps waiting."""
    from multiprocessing.connection import wait

    wait([sentinel])
    os._exit(1)


def _speak_when_dying(mouth: Any) -> None:
    """Have the stacks of all threads written to the parent when a signal such as SIGSEGV ends this process."""
    if sys.platform == "win32":  # a pipe there is no file
        return
    import faulthandler

    state.mouth = mouth
    os.set_blocking(mouth.fileno(), False)
    faulthandler.enable(file=mouth.fileno())


def _take_over(environ: dict[str, str] | None) -> None:
    """Have the parent's environment as it is now: a fork server hands out the one of its own start."""
    if environ is None:
        return
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    for name, value in environ.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _limit_inner_threads(threads: int | None) -> None:
    """Keep numerical libraries from starting a thread per core in every worker; what the user set stays.

    A library that is loaded already, since this process was forked from one that had it, no longer reads its variable:
    threadpoolctl, if it is installed, tells it.
    """
    if threads is None:
        return
    for library in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR"):
        os.environ.setdefault(f"{library}_NUM_THREADS", str(threads))
    os.environ.setdefault("VECLIB_MAXIMUM_THREADS", str(threads))
    if "numpy" in sys.modules or "scipy" in sys.modules:
        with suppress(ImportError):
            from threadpoolctl import threadpool_limits

            threadpool_limits(threads)


def _run_initializer(given: Initializer | None) -> Failure | None:
    if given is None:
        return None
    try:
        if isinstance(given, bytes):
            initializer, initargs = _payload.loads(given)
        else:
            initializer, initargs = _payload.loads(given[0]), given[1]
        initializer(*initargs)
    except BaseException as exc:  # noqa: BLE001 - the worker's edge: the parent raises it, as the cause
        return travelling(failure_of(0, exc))
    return None
