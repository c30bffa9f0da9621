"""A call as the user wrote it, checked before any worker starts: the one record that is passed on inside; pure.

A new option is written down in `_options.CallOptions`, here, and where it is used.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import AsyncIterable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Never, TypeVar

from ._options import AnyOptions, Data, Hooks
from .hooks import HookManager
from .policies import RetryPolicy

__all__ = ("Call", "checked_managers", "checked_number", "shows_options")

F = TypeVar("F", bound=Callable[..., Any])

ELSEWHERE = {
    "chunk_size": "chunksize",
    "max_workers": "n_jobs",
    "processes": "n_jobs",
    "timeout": "item_timeout for each item, `async with asyncio.timeout(seconds)` for all",
}
# What other libraries call an option, and its name here.


@dataclass(frozen=True, slots=True)
class Call:
    """A function, its input and the options, all checked; see `execute_async` for their meaning."""

    fn: Callable[..., Any]
    data: Data[Any]
    managers: tuple[HookManager, ...]
    n_jobs: int | None
    chunksize: int | None
    retry: RetryPolicy | None
    item_timeout: float | None
    return_exceptions: bool

    @classmethod
    def checked(
        cls,
        fn: Callable[..., Any],
        data: Data[Any],
        *,
        hooks: Hooks = None,
        n_jobs: int | None = None,
        chunksize: int | None = None,
        retry: RetryPolicy | int | None = None,
        item_timeout: float | None = None,
        return_exceptions: bool = False,
        **unknown: Never,
    ) -> Call:
        """Check everything that can be wrong with a call; raises TypeError or ValueError."""
        for name in unknown:
            raise _unknown(name)
        if not callable(fn):
            raise TypeError(f"fn is a {type(fn).__name__}, not a callable; pass the function first, then the data")
        if not isinstance(data, Iterable | AsyncIterable) and not hasattr(data, "__getitem__"):
            kind = type(data).__name__
            raise TypeError(f"data is a {kind}, not iterable; pass a sequence, an iterable or an async iterable")
        checked_number("n_jobs", n_jobs)
        checked_number("chunksize", chunksize)
        checked_number("item_timeout", item_timeout, 0.001, whole=False)
        policy = RetryPolicy.of(retry)
        return cls(fn, data, checked_managers(hooks), n_jobs, chunksize, policy, item_timeout, return_exceptions)


def _unknown(name: str) -> TypeError:
    """The error for an option that there is not, and where to look for the one that was meant."""
    meant = f" (here: {ELSEWHERE[name]})" if name in ELSEWHERE else ""
    known = ", ".join(AnyOptions.__annotations__)
    return TypeError(
        f"unexpected keyword argument {name!r}{meant}; the options of every call are {known}; "
        "a list has return_report, too (a stream and a job have a .report), a stream ordered and buffersize, "
        "and what is no method of an executor has executor"
    )


def checked_number(
    name: str, value: float | None, least: float = 1, *, whole: bool = True, optional: bool = True
) -> None:
    """Raise TypeError or ValueError unless `value` is a number of at least `least`, or None if that is allowed."""
    if value is None and optional:
        return
    otherwise = ", or None" if optional else ""
    if value is None or isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        kind = "whole number" if whole else "number"
        raise TypeError(f"{name} is a {type(value).__name__}; pass a {kind} of at least {least}{otherwise}")
    if not value >= least:  # not a number is not, either
        raise ValueError(f"{name}={value} is too small; pass at least {least}{otherwise}")
    if math.inf > value > sys.float_info.max:
        raise ValueError(f"{name} has {len(str(value))} digits; pass a number that a float can hold{otherwise}")


def checked_managers(hooks: Hooks) -> tuple[HookManager, ...]:
    """The managers in `hooks`, each once; raises TypeError for anything else."""
    if hooks is None or isinstance(hooks, HookManager):
        return () if hooks is None else (hooks,)
    try:
        managers = tuple(hooks)
    except TypeError:
        raise _no_manager("is", hooks) from None
    for manager in managers:
        if not isinstance(manager, HookManager):
            raise _no_manager("contains", manager)
    return tuple(dict.fromkeys(managers))


def _no_manager(how: str, given: object) -> TypeError:
    kind = "the class HookManager" if given is HookManager else f"a {type(given).__name__}"
    return TypeError(
        f"hooks {how} {kind}; make a manager, `hooks = HookManager()`, register callbacks on it, "
        "`hooks.register(HookEvent.ON_PROGRESS, callback)`, and pass it, or several"
    )


def shows_options(function: F) -> F:
    """Show the options of a call one by one in the signature of a function that takes them as `**options`.

    What `help`, notebooks and frameworks read there is complete then, and comes from `Call.checked`.
    """
    own = inspect.signature(function)
    given = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    options = inspect.signature(Call.checked).parameters.values()
    shown = [each for each in options if each.kind is inspect.Parameter.KEYWORD_ONLY]
    function.__signature__ = own.replace(parameters=[*given, *shown])  # type: ignore[attr-defined]
    return function
