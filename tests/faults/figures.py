"""The numbers of a run: each is noted, then held to its bound; all of them are printed as one table at the end."""

from __future__ import annotations

import statistics
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass

SLACK = 5
"""A time may take so many times its promise before a test fails: machines are shared. The table shows the promise."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    what: str
    measured: str
    promise: str
    verdict: str


_figures: list[Figure] = []
_tried: Counter[str] = Counter()
_held: Counter[str] = Counter()


def number(what, measured, most=0, *, unit="", slack=1, told=""):
    """Note a number that may not be more than `most`, and hold it to `slack` times that; `told`: what else to say."""
    verdict = "ok" if measured <= most else "slow" if measured <= slack * most else "FAILED"
    _figures.append(Figure(what, f"{measured:,}{unit}", f"{most:,}{unit}", verdict))
    assert measured <= slack * most, f"{what}: {measured}{unit}, promised {most}{unit}\n{told}"


def times(what, seconds, promise=None):
    """Note measured times, and hold their 95th percentile to `SLACK` times the promise; None: there is none."""
    p95 = percentile(seconds, 95)
    measured = f"{_ms(statistics.median(seconds))} median, {_ms(p95)} p95, {_ms(max(seconds))} max of {len(seconds)}"
    if promise is None:
        _figures.append(Figure(what, measured, "", ""))
        return
    verdict = "ok" if p95 <= promise else "slow" if p95 <= SLACK * promise else "FAILED"
    _figures.append(Figure(what, measured, f"{_ms(promise)} p95", verdict))
    assert p95 <= SLACK * promise, f"{what}: {_ms(p95)}, promised {_ms(promise)}"


def note(what, measured):
    """Note something that is held to nothing."""
    _figures.append(Figure(what, str(measured), "", ""))


@contextmanager
def scored(what):
    """Count one more case, and whether it held."""
    _tried[what] += 1
    yield
    _held[what] += 1


def percentile(seconds, percent):
    """The smallest measured value that so many percent of all do not exceed."""
    ranked = sorted(seconds)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]


def table():
    """Give the lines of the table."""
    scores = [
        Figure(what, f"{_held[what]} of {tried}", "all", "ok" if _held[what] == tried else "FAILED")
        for what, tried in _tried.items()
    ]
    rows = [*scores, *_figures]
    wide, middle = (max((len(getattr(row, field)) for row in rows), default=0) for field in ("what", "measured"))
    return [f"{row.what:<{wide}}  {row.measured:<{middle}}  {row.promise:>12}  {row.verdict}".rstrip() for row in rows]


def _ms(seconds):
    return f"{seconds * 1000:.1f} ms"
