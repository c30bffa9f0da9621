"""Who is let in, and when those who are not may come again."""

from __future__ import annotations

import pytest

from amorsize_async._admission import Admission
from amorsize_async.errors import ExecutorSaturatedError


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_one_too_many_is_refused():
    """With the numbers, in the message and as attributes."""
    admission = Admission(2)
    admission.enter()
    admission.enter()

    with pytest.raises(ExecutorSaturatedError, match="has 2 calls, its max_pending") as caught:
        admission.enter()

    assert (caught.value.pending, caught.value.max_pending, caught.value.retry_after) == (2, 2, 1.0)


def test_one_that_leaves_makes_room_once():
    """Leaving twice is leaving once."""
    admission = Admission(1)
    first = admission.enter()
    first.leave()
    first.leave()
    admission.enter()

    assert admission.pending == 1


def test_without_a_limit_everybody_is_let_in():
    """And counted."""
    admission = Admission(None)
    for _ in range(1000):
        admission.enter()

    assert admission.pending == 1000


def test_the_wait_is_what_recent_calls_took():
    """On average, and at least a second."""
    clock = Clock()
    admission = Admission(4, clock)
    for took in (10.0, 20.0):
        ticket = admission.enter()
        clock.now += took
        ticket.leave()

    assert admission.retry_after() == 15.0


def test_without_a_call_that_ended_the_wait_is_the_age_of_the_oldest():
    """It will take at least that."""
    clock = Clock()
    admission = Admission(4, clock)
    admission.enter()
    clock.now += 30.0

    assert admission.retry_after() == 30.0
