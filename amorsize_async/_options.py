"""The options of a call as type checkers read them, and which of them give which kind of result; nothing runs here.

    CallOptions ─┬─ AnyOptions ─── StreamOptions
                 ├─ StrictOptions ───┬─ ListOptions
                 │                   └─ ReportOptions
                 └─ TolerantOptions ─┬─ TolerantListOptions
                                     └─ TolerantReportOptions

Their defaults and their check are in `_call.Call.checked`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Literal, Required, TypedDict, TypeVar

from .hooks import HookManager
from .policies import RetryPolicy

__all__ = (
    "AnyOptions",
    "AsyncFunction",
    "Data",
    "Function",
    "Hooks",
    "ListOptions",
    "ReportOptions",
    "StreamOptions",
    "StrictOptions",
    "TolerantListOptions",
    "TolerantOptions",
    "TolerantReportOptions",
)

R = TypeVar("R")
T = TypeVar("T")

Function = Callable[[T], R]
AsyncFunction = Callable[[T], Coroutine[Any, Any, R]]
Data = Iterable[T] | AsyncIterable[T]
Hooks = HookManager | Sequence[HookManager] | None


class CallOptions(TypedDict, total=False):
    """The options of every call; see `execute_async`."""

    hooks: Hooks
    n_jobs: int | None
    chunksize: int | None
    retry: RetryPolicy | int | None
    item_timeout: float | None


class AnyOptions(CallOptions, total=False):
    """Those, and whether exceptions may stand among the results: what `Call.checked` takes."""

    return_exceptions: bool


class StreamOptions(AnyOptions, total=False):
    """The options of a stream; see `stream_async`."""

    ordered: bool
    buffersize: int | None


class StrictOptions(CallOptions, total=False):
    """All results are of the function's type: the first failure ends the call."""

    return_exceptions: Literal[False]


class TolerantOptions(CallOptions, total=False):
    """Exceptions may stand among the results."""

    return_exceptions: Required[bool]


class ListOptions(StrictOptions, total=False):
    """A list of the function's type."""

    return_report: Literal[False]


class ReportOptions(StrictOptions, total=False):
    """Such a list, and the report."""

    return_report: Required[Literal[True]]


class TolerantListOptions(TolerantOptions, total=False):
    """A list of anything."""

    return_report: Literal[False]


class TolerantReportOptions(TolerantOptions, total=False):
    """Such a list, and the report."""

    return_report: Required[Literal[True]]
