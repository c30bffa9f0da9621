"""HTML for notebooks: what is shown is escaped, and complete in words."""

from __future__ import annotations

import re

import pytest

from amorsize_async._job import JobProgress
from amorsize_async._report_html import duration, progress_html, progress_words, table_html


def progress(**numbers):
    """A job that has done 420 of 1,000 items."""
    known = {"completed": 420, "total": 1000, "failed": 0, "percent": 42.0, "elapsed": 2.0, "rate": 210.0}
    return JobProgress(**{**known, "remaining": 2.76, **numbers})


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.25, "0.2 s"), (59.9, "59.9 s"), (60, "1 min 00 s"), (187.4, "3 min 07 s"), (7500, "2 h 05 min")],
)
def test_a_duration_is_as_precise_as_a_person_wants_it(seconds, words):
    """Tenths of a second up to a minute, minutes from an hour on."""
    assert duration(seconds) == words


def test_progress_is_told_in_words():
    """Without what is not known."""
    assert progress_words(progress()) == "42 %, 420 of 1,000 items · 2.0 s · 210 per second · 2.8 s left"
    unknown = progress(total=None, failed=7, rate=0.1, remaining=None)
    assert progress_words(unknown) == "420 items · 7 failed · 2.0 s"


def test_a_bar_has_a_value_where_the_end_is_known():
    """A bar without one moves by itself, which must end with the job."""
    assert 'value="42.0"' in progress_html("f", "running", progress())
    assert "value=" not in progress_html("f", "running", progress(total=None))
    assert "value=" in progress_html("f", "ok", progress(total=None))


def test_everything_that_is_shown_is_escaped():
    """A function may be called <lambda>, and an error may hold anything."""
    evil = "<script>'\"&"
    shown = table_html(evil, evil, [(evil, evil)]) + progress_html(evil, evil, progress())
    assert "<script" not in shown
    assert not re.search(r"&(?!(amp|lt|gt|quot|#x27);)", shown)
