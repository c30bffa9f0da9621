"""The two ways to draw a bar on a notebook's page: plain HTML, and ipywidgets. What to draw is decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .._job import JobProgress
from .._report_html import progress_html, progress_words

__all__ = ("Bar", "Page", "Widget", "show")

COMPLETE = 100.0


class Bar(Protocol):
    """One run on the page; the id names its place there."""

    def __init__(self, place: str) -> None: ...
    def draw(self, title: str, progress: JobProgress) -> None: ...
    def close(self) -> None: ...


class Page:
    """A bar of plain HTML, replaced at each update."""

    def __init__(self, place: str) -> None:
        self._place = place
        show(place, {"text/plain": ""})

    def draw(self, title: str, progress: JobProgress) -> None:
        """Replace the bar."""
        words = f"{title}: {progress_words(progress)}"
        show(self._place, {"text/html": progress_html(title, "running", progress), "text/plain": words}, update=True)

    def close(self) -> None:
        """Nothing is left to do: the report is in its place."""


class Widget:
    """A bar of ipywidgets. Not left on the page: it would not outlive its kernel."""

    def __init__(self, place: str) -> None:
        from ipywidgets import FloatProgress, HBox, Label

        self._bar, self._label = FloatProgress(max=COMPLETE), Label()
        self._box = HBox([self._bar, self._label])
        show(place, self._box)

    def draw(self, title: str, progress: JobProgress) -> None:
        """Move the bar; while the total is unknown it is full, and of another colour."""
        self._bar.value = COMPLETE if progress.total is None else progress.percent
        self._bar.bar_style = "info" if progress.total is None else ""
        self._label.value = f"{title}: {progress_words(progress)}"

    def close(self) -> None:
        """Let the front end and the kernel forget the widgets."""
        for widget in (self._box, self._bar, self._label):
            widget.layout.close()
            widget.close()
        self._bar.style.close()
        self._label.style.close()


def show(place: str, content: object, *, update: bool = False) -> None:
    """Put a widget, or a ready bundle of formats, below the cell, or in the place of what is there."""
    from IPython.display import display

    untyped: Callable[..., object] = display
    untyped(content, raw=isinstance(content, dict), display_id=f"amorsize-{place}", update=update)
