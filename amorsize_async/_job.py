"""A run as an object: started now, watched, awaited or cancelled later, by anybody; it sees its run through hooks only.

executor.start(fn, data) ──► Job ──► a task of its own: collect(...)
                          ▲                           │ hooks, called inline
              awaiters, readers ◄── History ◄─────────┘
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, Self, TypeVar

from ._call import Call
from ._engine import Engine, collect, tell_cancelled
from ._history import History
from ._report_html import progress_html
from ._shielding import ended
from ._texts import message_of, traceback_of
from .events import HookContext, HookEvent
from .hooks import HookManager
from .report import Report

__all__ = ("Job", "JobProgress", "JobStatus", "wait_all")

R = TypeVar("R")

JobStatus = Literal["pending", "running", "ok", "error", "cancelled"]


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is.

    completed: items with an outcome. total: items of the job, None if its input does not tell. failed: items that
    failed. percent: 0 to 100, 0 while the total is unknown. elapsed: seconds since the job was started. rate: items per
    second, smoothed while it runs, 0 before the first. remaining: seconds that are left at that rate, None if that
    cannot be told.
    """

    completed: int
    total: int | None
    failed: int
    percent: float
    elapsed: float
    rate: float
    remaining: float | None

    @classmethod
    def of(cls, context: HookContext, *, failed: int, elapsed: float) -> JobProgress:
        """What an event tells of it."""
        goes_on = context.status in ("running", "ok") and context.total_items is not None
        return cls(
            completed=context.items_completed,
            total=context.total_items,
            failed=failed,
            percent=context.percent_complete,
            elapsed=elapsed,
            rate=context.throughput_items_per_sec,
            remaining=context.estimated_time_remaining if goes_on and context.throughput_items_per_sec > 0 else None,
        )


class Job(Generic[R]):
    """A run that was started with `AsyncExecutor.start` and goes on by itself, whoever watches.

    `results = await job` waits for it and raises what it raised, as often and by as many tasks as like; one that is
    cancelled while it waits leaves the job alone. A job that nobody keeps runs on; the executor keeps it until it has
    ended. An error that nobody asks for, by `await`, by `error` or by reading the events to the end, is logged by
    asyncio when the job is forgotten, as that of a task is.

    id: names the job, and cannot be guessed. It is a key, and so not the `execution_id` by which the events and the
    report call its run, and which hooks may log or show.
    """

    def __init__(self, engine: Engine, call: Call, on_end: Callable[[Job[R]], None]) -> None:
        """Start `call`; `on_end` is called with the job when all is over. Made by `AsyncExecutor.start` only."""
        self.id: str = uuid.uuid4().hex
        self._history = History()
        self._failed = 0
        self._began = time.monotonic()
        self._took: float | None = None
        self._begun = self._stopping = False
        self._readers: set[asyncio.Future[None]] = set()
        hooks = HookManager()
        hooks.register(HookEvent, self._note, mode="inline")
        run = self._run(engine, replace(call, managers=(hooks, *call.managers)))
        self._task = asyncio.get_running_loop().create_task(run, name="amorsize-job")
        self._task.add_done_callback(lambda _: self._over(on_end))

    def __repr__(self) -> str:
        progress = self.progress
        total = "" if progress.total is None else f" of {progress.total:,}"
        return f"<Job {self.id} {self.status}, {progress.completed:,}{total} items>"

    def _repr_html_(self) -> str:
        """Shown by notebooks: how far it is, and when it has ended, its report."""
        if self.report is not None:
            return self.report._repr_html_()
        first = self._history.first
        function = None if first is None else first.metadata.get("function")
        return progress_html(function or "job", self.status, self.progress)

    # ── what is known of it ──────────────────────────────────────────────────────────────────────────────────────────

    @property
    def status(self) -> JobStatus:
        """Where it stands: "pending" until its hooks of PRE_EXECUTE are called, "running", or how it ended."""
        newest = self._history.newest
        if newest is None:
            return "pending"
        return newest.status

    @property
    def progress(self) -> JobProgress:
        """How far it is at this moment."""
        newest = self._history.newest or HookContext(HookEvent.PRE_EXECUTE)
        elapsed = time.monotonic() - self._began if self._took is None else self._took
        return JobProgress.of(newest, failed=self._failed, elapsed=elapsed)

    @property
    def report(self) -> Report | None:
        """What happened, measured; None before the end, and of a job that was refused before it began."""
        newest = self._history.newest
        return newest.metadata.get("report") if newest is not None and self._history.ended else None

    @property
    def error(self) -> BaseException | None:
        """What it raised; None before the end, and if it ended well or was cancelled."""
        newest = self._history.newest
        return None if newest is None or not self._history.ended else self._told(newest).error

    # ── its end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def __await__(self) -> Generator[Any, None, list[R]]:
        """Wait for the results, in input order; raises what the run raised, CancelledError if the job was cancelled."""
        return self._results().__await__()

    async def wait(self) -> None:
        """Wait until it has ended, however that may be, and its hooks have been told."""
        await ended(self._task)

    def cancel(self) -> bool:
        """Stop it, and its workers at once; False if it had ended, or is being stopped already.

        Items that run get the executor's `cancel_grace`, then their workers are replaced. `wait` waits for that.
        """
        if self._stopping or self._history.ended or self._task.done():
            return False
        self._stopping = True
        if self._begun:  # else it finds out at its first turn: a task that never has one could not tell the hooks
            self._task.cancel()
        return True

    async def _results(self) -> list[R]:
        await self.wait()
        values, _ = self._task.result()
        return values

    # ── its events ───────────────────────────────────────────────────────────────────────────────────────────────────

    def events(self, after: int = -1) -> AsyncIterator[HookContext]:
        """The events of the run: those that are remembered, then those that come, until POST_EXECUTE, always the last.

        after: the `sequence` of the last event that the reader has seen; -1: none. Any number of readers may read at
        once, each at its own pace. One that is slow misses what is forgotten meanwhile: 256 events are remembered, of
        ON_PROGRESS the newest only, and the first and the last always.
        """
        return _Reader(self._next_event, after)

    def has_events(self, after: int = -1) -> bool:
        """Whether a reader that has seen the events up to `after` gets any more, now or later."""
        return not self._history.ended or self._history.after(after) is not None

    async def _next_event(self, after: int) -> HookContext | None:
        """The first event later than `after` that is remembered, waiting for it; None after the last."""
        while (context := self._history.after(after)) is None:
            if self._history.ended:
                return None
            news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._readers.add(news)
            try:
                await news
            finally:
                self._readers.discard(news)
        return self._told(context) if context.event is HookEvent.POST_EXECUTE else context

    def _note(self, context: HookContext) -> None:
        """Take an event of the run, and wake who waits for it; called on the loop, in the order of events."""
        self._failed += context.event is HookEvent.ON_ERROR
        self._history.add(context)
        if self._history.ended:
            self._took = time.monotonic() - self._began
        for reader in self._readers:
            if not reader.done():
                reader.set_result(None)

    def _told(self, last: HookContext) -> HookContext:
        """Note that somebody is told of the end: asyncio need not log the error of the task, if there is one."""
        if self._task.done():
            _seen(self._task)
        else:
            self._task.add_done_callback(_seen)
        return last

    async def _run(self, engine: Engine, call: Call) -> tuple[list[Any], Report]:
        self._begun = True
        try:
            if self._stopping:
                await tell_cancelled(engine, call)
                raise asyncio.CancelledError
            return await collect(engine, call)
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # only noted, for the last event
            self._close(exc)
            raise

    def _over(self, on_end: Callable[[Job[R]], None]) -> None:
        self._close()
        on_end(self)

    def _close(self, error: BaseException | None = None) -> None:
        """Give a run that ended before it began a last event, too, so that readers need to know of one end only."""
        if self._history.ended:
            return
        newest = self._history.newest
        self._note(
            HookContext(
                HookEvent.POST_EXECUTE,
                error=error,
                error_message=None if error is None else message_of(error),
                error_traceback=None if error is None else traceback_of(error),
                sequence=0 if newest is None else newest.sequence + 1,
                status="cancelled" if error is None else "error",
            )
        )


class _Reader:
    """One reader's place among the events; it holds nothing while it is not read."""

    def __init__(self, next_event: Callable[[int], Any], after: int) -> None:
        self._next_event = next_event
        self._after = after

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> HookContext:
        context: HookContext | None = await self._next_event(self._after)
        if context is None:
            raise StopAsyncIteration
        self._after = context.sequence
        return context


def _seen(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


async def wait_all(jobs: Iterable[Job[Any]], seconds: float | None = None) -> None:
    """Wait until all have ended, for so many seconds at most; None: for as long as it takes."""
    tasks = [job._task for job in jobs]  # noqa: SLF001 - the module's own class
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
