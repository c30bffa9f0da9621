"""A live display for notebooks: a bar while a run lasts, its report when it ends. Draws what events tell, no more.

    results = await execute_async(fn, data, hooks=progress())

Needs IPython, which every Jupyter kernel has; draws with ipywidgets where they are installed, else with plain HTML.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TypeVar

from .._job import Job, JobProgress
from ..events import HookContext, HookEvent
from ..hooks import HookManager
from ._bars import Bar, Page, Widget, show

__all__ = ("progress", "watch")

R = TypeVar("R")


def progress(hooks: HookManager | None = None, *, every: float = 0.1, widgets: bool | None = None) -> HookManager:
    """Return hooks that draw a progress bar below the cell for each run they are given to, and then its report.

    hooks: a manager to add the display to; None: a new one.
    every: the least number of seconds between two updates of a bar; the first and the last are always drawn.
    widgets: whether to draw with ipywidgets; None: if they are installed. A front end that lacks their extension shows
    no bar then: pass False there.
    """
    display = _Display(_bars(widgets=widgets))
    manager = _shown(display, HookManager() if hooks is None else hooks, every)
    # On the loop, since thousands may fail at once: a queue would lose some.
    manager.register(HookEvent.ON_ERROR, display.count, mode="inline")
    return manager


async def watch(job: Job[R], *, every: float = 0.1, widgets: bool | None = None) -> list[R]:
    """Draw a job as `progress` draws a run, until it ends; return its results, or raise what it raised.

    A cell that is stopped meanwhile stops watching, not the job: that goes on, and may be watched again.
    """
    manager = _shown(_Display(_bars(widgets=widgets), lambda _: job.progress.failed), HookManager(), every)
    async for context in job.events():
        await manager.trigger_async(context)
    return await job


def _bars(*, widgets: bool | None) -> type[Bar]:
    return Widget if (find_spec("ipywidgets") is not None if widgets is None else widgets) else Page


def _shown(display: _Display, manager: HookManager, every: float) -> HookManager:
    manager.register((HookEvent.PRE_EXECUTE, HookEvent.POST_EXECUTE), display.show)
    manager.register(HookEvent.ON_PROGRESS, display.show, every=every)
    return manager


@dataclass(frozen=True, slots=True)
class _Run:
    """What a display keeps of a run: its bar, and the name of its function."""

    bar: Bar
    title: str


class _Display:
    """All runs of one manager, each with a bar of its own, which gives its place to the report.

    failed: tells how many items of a run failed so far; None: as many as `count` was told of.
    """

    def __init__(self, new_bar: type[Bar], failed: Callable[[str], int] | None = None) -> None:
        self._new_bar = new_bar
        self._runs: dict[str, _Run] = {}
        self._failures: Counter[str] = Counter()
        self._failed = self._failures.__getitem__ if failed is None else failed

    def count(self, context: HookContext) -> None:
        """Count a failure."""
        self._failures[context.execution_id or ""] += 1

    async def show(self, context: HookContext) -> None:
        """Bring one run up to date. A coroutine, so that it is called on the loop, in the kernel's own thread."""
        place = context.execution_id or ""
        if context.event is HookEvent.PRE_EXECUTE:
            self._runs[place] = _Run(self._new_bar(place), str(context.metadata.get("function", "")))
        run = self._runs.get(place)
        if run is None:  # what was cancelled before it began
            return
        if context.event is HookEvent.POST_EXECUTE:
            del self._runs[place]
            self._failures.pop(place, None)
            report = context.metadata["report"]
            show(place, {"text/html": report._repr_html_(), "text/plain": report.explain()}, update=True)
            run.bar.close()
        else:
            run.bar.draw(run.title, JobProgress.of(context, failed=self._failed(place), elapsed=context.elapsed_time))
