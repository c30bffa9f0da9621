"""The options of a call: known by name, checked before anything starts, and shown wherever they are taken."""

from __future__ import annotations

import inspect

import pytest

from amorsize_async import AsyncExecutor, HookManager, RetryPolicy, execute, execute_async, stream_async
from amorsize_async._call import Call, checked_number
from amorsize_async._options import AnyOptions

OPTIONS = {
    "hooks": None,
    "n_jobs": None,
    "chunksize": None,
    "retry": None,
    "item_timeout": None,
    "return_exceptions": False,
}
LIST = {"return_report": False}
STREAM = {"ordered": True, "buffersize": None}
ANYWHERE = {"executor": None}


@pytest.mark.parametrize(
    ("function", "own"),
    [
        (execute_async, LIST | ANYWHERE),
        (execute, LIST | ANYWHERE),
        (stream_async, STREAM | ANYWHERE),
        (AsyncExecutor.execute, LIST),
        (AsyncExecutor.stream, STREAM),
        (AsyncExecutor(1).execute, LIST),
        (AsyncExecutor.start, {}),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_every_option_is_shown_with_its_default(function, own):
    """By `help`, and to whoever else asks for the signature."""
    parameters = inspect.signature(function).parameters.values()
    shown = {each.name: each.default for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}

    assert shown == OPTIONS | own
    assert not [each for each in parameters if each.kind is inspect.Parameter.VAR_KEYWORD]


def test_type_checkers_and_the_check_know_the_same_options():
    """The one list is read by the first, the other is run."""
    assert set(AnyOptions.__annotations__) == set(OPTIONS)


def test_an_unknown_option_is_refused_with_the_known_ones():
    """A misspelt name is found at a glance."""
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'chunks'; .* n_jobs, chunksize, retry"):
        Call.checked(len, [], chunks=3)


@pytest.mark.parametrize(("theirs", "ours"), [("max_workers", "n_jobs"), ("timeout", "item_timeout")])
def test_what_other_libraries_call_an_option_is_told(theirs, ours):
    """Who comes from there finds it."""
    with pytest.raises(TypeError, match=rf"unexpected keyword argument '{theirs}' \(here: {ours}"):
        Call.checked(len, [], **{theirs: 3})


def test_a_checked_call_holds_what_a_run_needs():
    """Hooks as managers, each once; attempts as a policy."""
    hooks = HookManager()
    call = Call.checked(len, [], hooks=[hooks, hooks], retry=3)

    assert (call.managers, call.retry) == ((hooks,), RetryPolicy(attempts=3))
    assert (call.n_jobs, call.return_exceptions) == (None, False)


@pytest.mark.parametrize("value", [True, "3", 1.5], ids=repr)
def test_a_number_of_the_wrong_kind_is_a_type_error(value):
    """Also one that Python takes for a number."""
    with pytest.raises(TypeError, match="pass a whole number of at least 1"):
        checked_number("n_jobs", value)


@pytest.mark.parametrize("value", [0, -1, float("nan")], ids=repr)
def test_a_number_that_is_too_small_is_a_value_error(value):
    """What is not a number is not large enough."""
    with pytest.raises(ValueError, match="is too small; pass at least"):
        checked_number("item_timeout", value, 0.001, whole=False)


@pytest.mark.parametrize("name", ["n_jobs", "chunksize", "item_timeout"])
def test_a_number_that_no_float_holds_is_a_value_error(name):
    """Seconds and shares are reckoned with; infinity is one to be reckoned with, too."""
    with pytest.raises(ValueError, match=f"{name} has 401 digits; pass a number that a float can hold, or None"):
        Call.checked(len, [], **{name: 10**400})

    assert Call.checked(len, [], item_timeout=float("inf")).item_timeout == float("inf")
