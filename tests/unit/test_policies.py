"""Retries, decided without a clock."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amorsize_async.policies import RetryPolicy


def none(_low, _high):
    """No jitter."""
    return 0.0


def test_waits_double_up_to_the_longest():
    """0.1, 0.2, 0.4 and so on, never above wait_max."""
    policy = RetryPolicy(attempts=10, wait_max=1.0)

    assert [policy.wait(attempt, none) for attempt in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_only_what_the_policy_names_is_tried_again():
    """A class, several, or a function."""
    assert RetryPolicy(on=OSError).again(ConnectionError(), 1)
    assert not RetryPolicy(on=OSError).again(ValueError(), 1)
    assert RetryPolicy(on=(OSError, ValueError)).again(ValueError(), 1)
    assert RetryPolicy(on=lambda exc: "busy" in str(exc)).again(ValueError("busy"), 1)


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit])
def test_a_function_that_raises_a_cancellation_cancels_nothing(kind):
    """A call that nobody cancelled must not end like one: a task group would not even tell of it."""

    def on(_exc):
        raise kind

    with pytest.raises(RuntimeError, match=kind.__name__):
        RetryPolicy(on=on).again(OSError(), 1)


def test_attempts_count_the_first():
    """Three attempts are two retries."""
    assert [RetryPolicy(attempts=3).again(OSError(), attempt) for attempt in (1, 2, 3)] == [True, True, False]


def test_a_number_is_a_policy():
    """`retry=3`."""
    assert RetryPolicy.of(3) == RetryPolicy(attempts=3)
    assert RetryPolicy.of(None) is None


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"attempts": 0}, ValueError),
        ({"attempts": 1.5}, TypeError),
        ({"wait_max": -1}, ValueError),
        ({"wait_initial": float("nan")}, ValueError),
        ({"wait_max": "5"}, TypeError),
        ({"wait_jitter": None}, TypeError),
        ({"on": "OSError"}, TypeError),
        ({"on": (OSError, "TimeoutError")}, TypeError),
        ({"on": int}, TypeError),
        ({"on": asyncio.sleep}, TypeError),
    ],
    ids=str,
)
def test_a_policy_that_makes_no_sense_is_refused(fields, kind):
    """Where it is made."""
    with pytest.raises(kind):
        RetryPolicy(**fields)


def test_late_attempts_wait_as_long_as_promised():
    """Whole numbers do not overflow by themselves, and no wait stays none."""
    no_jitter = {"attempts": 2000, "wait_jitter": 0}

    assert RetryPolicy(wait_initial=1, wait_exp_base=2, wait_max=5, **no_jitter).wait(1100) == 5
    assert RetryPolicy(wait_initial=0, **no_jitter).wait(1100) == 0
    assert RetryPolicy(wait_exp_base=10**400, **no_jitter).wait(2) == 5.0


@given(st.integers(1, 10_000), st.floats(0, 100), st.floats(0, 100), st.floats(0), st.floats(0, 10))
def test_no_wait_is_negative_or_above_the_longest(attempt, initial, longest, base, jitter):
    """Whatever the numbers, also at the thousandth attempt."""
    policy = RetryPolicy(wait_initial=initial, wait_max=longest, wait_exp_base=base, wait_jitter=jitter)

    assert 0 <= policy.wait(attempt) <= longest


@pytest.mark.parametrize("retry", [0, "3", True])
def test_attempts_that_are_no_number_are_told_of_as_the_option_they_came_by(retry):
    """Nobody who calls with `retry=` has written `attempts`."""
    with pytest.raises((TypeError, ValueError), match=rf"^retry={retry!r}: .* or pass a RetryPolicy$"):
        RetryPolicy.of(retry)
