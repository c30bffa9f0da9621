"""The tasks of one execution, and how it is ended from among them or from outside; they wait, this knows not for what.

The outcome is in the books: a task that ends the execution notes it there, and leaves the group by an exception that
never leaves the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NoReturn

from ._books import Books

__all__ = ("Crew", "unexpected")


class _Stop(Exception):  # noqa: N818 - never leaves the run: ends the task group when the outcome is known
    """Ends a run early; what to raise is noted in the books."""


class Crew:
    """The tasks of one execution. `open` gives it their group."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Crew of {len(self._tasks)} tasks>"

    @property
    def begun(self) -> bool:
        """Whether it has its group."""
        return self._group is not None

    def open(self, group: asyncio.TaskGroup) -> None:
        """Begin: tasks run in `group`, of which the current one is the parent."""
        self._group = group
        self._task = asyncio.current_task()
        self._cancellations = self._task.cancelling() if self._task else 0

    async def done(self) -> None:
        """Wait until there is nothing to do."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Run `work` as a task of the group; when that is ending already, what it would do is not wanted any more."""
        try:
            if self._group is None:
                raise RuntimeError("not begun")
            task = self._group.create_task(work, name="amorsize-chunk")
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        except RuntimeError:
            work.close()
            return None
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Have the run cancelled if a task of it alone was, at whatever it waited: by a hook on the loop, say.

        The task group takes a cancelled task for a finished one, and the results of its items would be missing.
        """
        self._tasks.discard(task)
        cancelling = self._task.cancelling() if self._task else 0
        if task.cancelled() and cancelling == self._cancellations and self._books.outcome is None:
            self.end(asyncio.CancelledError())

    def leave_if_over(self) -> None:
        """End the run, from one of its tasks, if there is no more to wait for."""
        if self._books.over:
            raise _Stop

    def fail(self, exc: BaseException) -> NoReturn:
        """End the run with `exc`, from one of its tasks."""
        self._books.end_with(exc)
        raise _Stop

    def end(self, exc: BaseException) -> None:
        """End the run with `exc`, from outside of its tasks."""

        async def stop() -> None:
            self.fail(exc)

        self.run(stop())


def unexpected(group: BaseExceptionGroup[BaseException]) -> BaseExceptionGroup[BaseException] | None:
    """What tasks of a crew raised but to end the run; None if that is all."""
    return group.split(_Stop)[1]
