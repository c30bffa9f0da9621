"""One worker process of our own, from its start to its burial: all that can go wrong with a process, in one place.

A slot is the unit of everything that can go wrong: a death, a kill, a hang, a recycling concerns one process and what
it holds, and its neighbours keep their pids and their work.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import cast

from .. import _system, _worker_start
from .._chunk import CELL_WORDS, STOP, Cell, ChunkReply
from .._deaths import Death, want_of_memory
from .._line import Ends
from .._shielding import finish, import_anyio
from .._threads import in_thread
from ..errors import WorkerStartError
from .line import Line
from .place import Place
from .processes import Context, main_not_imported
from .start_errors import initializer_error, start_error

__all__ = ("Slot", "SlotSettings")

PRELOADED = ["amorsize_async._worker_start", "amorsize_async._replies", "concurrent.futures.process", "cloudpickle"]
# What the fork server imports once, so that a worker is there 5 ms after it is asked for, and not 60.

EXIT_WAIT = 2.0
# Seconds an idle worker has to end by itself when its slot is closed, before it is killed.

EXITCODE_WAIT = 1.0
# Seconds to wait for the exit code of a process that another thread reaped; it takes microseconds.

OUTPUT_BYTES = 1 << 16
# What a dying worker can say at most: what a pipe holds, so that it never waits for somebody to read it.


@dataclass(frozen=True, slots=True)
class SlotSettings:
    """How slots are made and when they are worn.

    start_method: of multiprocessing. setup: what each worker is told. start_timeout: seconds that its start may take.
    max_items: items after which it is replaced, max_rss: bytes of memory, None for any number.
    """

    start_method: str
    setup: _worker_start.Setup
    start_timeout: float
    max_items: int | None = None
    max_rss: int | None = None


class Slot(Place):
    """One worker process and the one-worker executor around it; made anew after each death, never revived."""

    def __init__(self, settings: SlotSettings) -> None:
        super().__init__()
        self._settings = settings
        self._context = Context(settings.start_method)
        self._pool: ProcessPoolExecutor | None = None
        self._mouth: Connection | None = None
        self._ends: Ends | None = None
        self._line: Line | None = None
        self._oom_kills = 0
        self._peak_rss = 0
        self.left: int | None = settings.max_items
        self._death = Death()
        self._burial: asyncio.Task[None] | None = None
        self._starting = threading.Lock()
        self._over = False
        self._gone = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Slot pid={self.pid} load={self.load}>"

    # ── its start ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self) -> None:
        """Start the process in a helper thread and wait for its first word; raises WorkerStartError."""
        timeout = self._settings.start_timeout
        try:
            async with asyncio.timeout(timeout):
                started = await in_thread(self._launch)
                hello = await asyncio.wrap_future(started)
        except TimeoutError:
            self.kill()
            await self.aclose()
            raise WorkerStartError(
                f"a worker did not start within {timeout} s; its initializer may hang, or raise start_timeout"
            ) from None
        except Exception as exc:  # whatever the system refuses: a process, a thread, a pipe, a semaphore
            await self.aclose()
            raise start_error(exc, self._death, nowhere=_is_nowhere()) from exc
        if hello.failure is not None:
            await self.aclose()
            raise initializer_error(hello.failure)
        self.pid: int | None = hello.pid
        self.executor: Executor | None = self._reached()

    def _reached(self) -> Executor | None:
        """What has calls run in the worker: a line to it, or the pool itself where the loop cannot watch pipes."""
        pool, ends = self._pool, self._ends
        if pool is None or ends is None:
            return pool
        with suppress(NotImplementedError, OSError, RuntimeError, ValueError):
            self._line = Line(ends, lambda: pool.submit(_worker_start.on_the_line))
        return self._line or pool

    def _launch(self) -> Future[_worker_start.Hello]:
        """Start the process; blocking, for a thread."""
        self._oom_kills = _system.oom_kills()
        with self._starting:
            if self._over:
                raise RuntimeError("it was closed before it began")
            try:
                hello = self._submit_hello()
            except ChildProcessError:  # the fork server is our parent's: we were forked from an application that has it
                self._context = Context("spawn")
                hello = self._submit_hello()
            if self._settings.max_rss is not None:
                _system.import_psutil()
            if self._settings.start_method != "fork":  # a module that is half imported stays so in who is forked now
                import_anyio()  # while the process starts
        return hello

    def _submit_hello(self) -> Future[_worker_start.Hello]:
        """Start the process by the first thing that it is asked."""
        if self._settings.start_method == "forkserver":
            multiprocessing.set_forkserver_preload(PRELOADED)
        memory = self._context.RawArray("q", CELL_WORDS)
        self.cell: Cell = memoryview(memory).cast("B").cast("q")
        self._mouth, its_end = multiprocessing.Pipe(duplex=False)
        its_ends: Ends | None = None
        try:
            if self._may_have_a_line:
                self._ends, its_ends = _line()
            self._pool = ProcessPoolExecutor(
                max_workers=1,
                mp_context=cast(BaseContext, self._context),
                initializer=_worker_start.start_worker,
                initargs=(replace(self._settings.setup, environ=dict(os.environ)), memory, its_end, its_ends),
            )
            with main_not_imported():
                hello = self._pool.submit(_worker_start.hello)
            self._context.started()
            return hello
        finally:
            its_end.close()
            if its_ends is not None:
                its_ends.answers.close()

    @property
    def _may_have_a_line(self) -> bool:
        """Not where no loop watches pipes; nor in a fork, which has the pipes of its siblings, too.

        What their ends tell is no news of them then; one of them was seen to be taken for dead.
        """
        return sys.platform != "win32" and self._settings.start_method != "fork"

    # ── its work ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def stopped(self) -> bool:  # noqa: D102 - see Place
        return self.pid is not None and _system.is_stopped(self.pid)

    def resume(self) -> None:  # noqa: D102 - see Place
        self.cell[STOP] = 0

    def noted(self, reply: ChunkReply) -> None:  # noqa: D102 - see Place
        self._peak_rss = reply.peak_rss
        limit = self._settings.max_rss
        # The peak costs nothing to know, and says when it is worth asking for what is held now.
        if limit is not None and self.pid is not None and reply.peak_rss >= limit:
            self.worn: bool = self.worn or _system.resident_bytes(self.pid) >= limit

    # ── its end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def broke(self) -> None:  # noqa: D102 - see Place
        self.executor = None

    def kill(self) -> bool:  # noqa: D102 - see Place
        process = self._context.process
        self.executor = None
        # It was closed, is gone already, or is being closed in the thread that buries it.
        with suppress(ValueError, AttributeError, ProcessLookupError):
            if process is not None and process.pid is not None:
                process.kill()
        return True

    async def buried(self) -> Death:  # noqa: D102 - see Place
        await self._gone.wait()
        return self._death

    async def aclose(self) -> None:
        """Let the worker end by itself, kill it if it does not; wait until process, threads and pipes are gone."""
        if self._burial is None:
            idle = self.executor is not None and not self.load
            self.executor = None
            self._burial = asyncio.get_running_loop().create_task(self._bury(idle=idle), name="amorsize-bury")
        await asyncio.shield(self._burial)

    async def _bury(self, *, idle: bool) -> None:
        try:
            if self._line is not None:
                self._line.hang_up()
            await finish(in_thread(lambda: self._end(idle=idle)))
        finally:
            if self._line is not None:
                self._line.close()
            self._gone.set()

    def _end(self, *, idle: bool) -> None:
        """Blocking, for a thread: end the process, by itself if it is idle and quick about it, and reap it.

        It comes once: `shutdown` joins the pool's thread, which reaps the process, and closes pipes, and two threads
        that close the same pipe close somebody else's. And not before a start that is under way has come to its end.
        """
        with self._starting:
            self._over = True
        if self._pool is not None:
            if not idle:
                self.kill()
            watchdog = self._killed_in(EXIT_WAIT)
            self._pool.shutdown(wait=True, cancel_futures=True)
            if watchdog is not None:
                watchdog.cancel()
                watchdog.join()
            exitcode = self._awaited_exitcode()
            self._death = Death(exitcode, self._last_words(), self._want_of_memory(exitcode))
            self._let_go()
        if self._mouth is not None:
            self._mouth.close()
        if self._ends is not None and self._line is None:
            self._ends.close()

    def _killed_in(self, seconds: float) -> threading.Timer | None:
        """What kills the process then; None: it was killed at once, since there is no thread left to wait in."""
        watchdog = threading.Timer(seconds, self.kill)
        try:
            watchdog.start()
        except RuntimeError:
            self.kill()
            return None
        return watchdog

    def _let_go(self) -> None:
        """Close the process's descriptors now, and not when nobody holds an exception any more that holds them."""
        process, self._context.process = self._context.process, None
        if process is not None:
            with suppress(ValueError):  # it still runs, whatever we did: it keeps what it needs
                process.close()

    def _awaited_exitcode(self) -> int | None:
        """Wait until the exit code is there: somebody else who started a process may have reaped ours meanwhile.

        `multiprocessing.process._cleanup` does that in whichever thread starts one, and nothing tells when it has.
        """
        process = self._context.process
        if process is None or process.pid is None:
            return None
        deadline = time.monotonic() + EXITCODE_WAIT
        while process.exitcode is None and time.monotonic() < deadline:
            time.sleep(0.001)
        return process.exitcode

    def _last_words(self) -> str:
        """What the worker's `faulthandler` wrote when it died."""
        if self._mouth is None or sys.platform == "win32":  # a pipe there is no file
            return ""
        os.set_blocking(self._mouth.fileno(), False)
        try:
            return os.read(self._mouth.fileno(), OUTPUT_BYTES).decode(errors="replace").strip()
        except BlockingIOError:  # somebody whom it forked holds the other end
            return ""

    def _want_of_memory(self, exitcode: int | None) -> str:
        risen = _system.oom_kills() - self._oom_kills
        return want_of_memory(exitcode, oom_kills=risen, held=self._peak_rss, limit=_system.memory_limit())


def _line() -> tuple[Ends, Ends]:
    """Our ends of a line, and the worker's."""
    its_calls, our_calls = multiprocessing.Pipe(duplex=False)
    try:
        our_answers, its_answers = multiprocessing.Pipe(duplex=False)
    except OSError:
        its_calls.close()
        our_calls.close()
        raise
    return Ends(our_calls, our_answers, kept=its_calls), Ends(its_calls, its_answers)


def _is_nowhere() -> bool:
    """Whether the working directory was deleted."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False
