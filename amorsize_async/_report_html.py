"""HTML for notebooks: a small table, and a progress bar. Knows only texts and numbers, and escapes what it is given.

Colours are the page's own, so that it reads alike on dark and light; nothing is loaded from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Protocol

__all__ = ("Numbers", "duration", "progress_html", "progress_words", "table_html")

CARD = "font-family: inherit; font-size: 0.95em; margin: 0.3em 0; max-width: 46em"
FAINT = "opacity: 0.7"
LABEL = f"{FAINT}; text-align: left; vertical-align: top; white-space: nowrap; padding: 1px 1.2em 1px 0"
TEXT = "text-align: left; padding: 1px 0"
BAR = "width: 14em; max-width: 60%; vertical-align: middle"

MINUTE = 60
"""Seconds, and as many minutes are an hour."""

MARKS = {"ok": "✓", "error": "✗", "cancelled": "■"}
# Shape tells how it ended, not colour: for dark and light, and for who cannot tell colours apart.


def table_html(title: str, status: str, rows: Iterable[tuple[str, str]]) -> str:
    """A title with a status beside it, and below it one line for each pair of label and text."""
    lines = "".join(
        f'<tr style="background: none"><th scope="row" style="{LABEL}; font-weight: normal">{escape(label)}</th>'
        f'<td style="{TEXT}">{escape(text)}</td></tr>'
        for label, text in rows
    )
    table = f'<table style="border-collapse: collapse; margin: 0.2em 0; border: none">{lines}</table>'
    return f'<div style="{CARD}">{_head(title, status)}{table}</div>'


class Numbers(Protocol):
    """How far an execution is; a `JobProgress` is one.

    total: items, None if unknown. percent: 0 to 100. rate: items per second. elapsed, remaining: seconds, the latter
    None if unknown.
    """

    @property
    def completed(self) -> int: ...
    @property
    def total(self) -> int | None: ...
    @property
    def failed(self) -> int: ...
    @property
    def percent(self) -> float: ...
    @property
    def elapsed(self) -> float: ...
    @property
    def rate(self) -> float: ...
    @property
    def remaining(self) -> float | None: ...


def progress_html(title: str, status: str, numbers: Numbers) -> str:
    """A title with a status, a bar, and the numbers in words."""
    # A bar without a value moves by itself: work is done, and nobody knows how much is left.
    value = "" if numbers.total is None and status == "running" else f' value="{numbers.percent:.1f}"'
    bar = f'<progress max="100"{value} aria-label="{escape(title)}" style="{BAR}"></progress>'
    words = f"<span>{escape(progress_words(numbers))}</span>"
    return f'<div style="{CARD}">{_head(title, status)}<div>{bar} {words}</div></div>'


def progress_words(numbers: Numbers) -> str:
    """The numbers as one line of text."""
    count = f"{numbers.completed:,}"
    words = [
        f"{count} items" if numbers.total is None else f"{numbers.percent:.0f} %, {count} of {numbers.total:,} items",
        f"{numbers.failed:,} failed" if numbers.failed else "",
        duration(numbers.elapsed),
        f"{numbers.rate:,.0f} per second" if numbers.rate >= 1 else "",
        f"{duration(numbers.remaining)} left" if numbers.remaining else "",
    ]
    return " · ".join(word for word in words if word)


def duration(seconds: float) -> str:
    """A time as precise as a person wants it: `2.5 s`, `3 min 07 s`, `2 h 05 min`."""
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), MINUTE)
    hours, minutes = divmod(minutes, MINUTE)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _head(title: str, status: str) -> str:
    return f'<div><b>{escape(title)}</b> <span style="{FAINT}">{MARKS.get(status, "…")} {escape(status)}</span></div>'
