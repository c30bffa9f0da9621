"""Awaitable parallel execution for CPU-heavy Python beside an event loop.

This module only names what is public; each name is imported on first use (PEP 562), so that a worker process, which
imports `amorsize_async._worker` alone, pays for nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = (
    "AmorsizeError",
    "AsyncExecutor",
    "HookContext",
    "HookEvent",
    "HookManager",
    "Job",
    "Report",
    "ResultStream",
    "RetryPolicy",
    "create_error_hook",
    "create_progress_hook",
    "create_throughput_hook",
    "create_timing_hook",
    "execute",
    "execute_async",
    "stream_async",
)

__version__ = "0.1.0"

if TYPE_CHECKING:
    from . import errors as errors
    from . import events as events
    from . import hooks as hooks
    from . import policies as policies
    from . import report as report
    from ._api import execute as execute
    from ._api import execute_async as execute_async
    from ._api import stream_async as stream_async
    from ._job import Job as Job
    from ._stream import ResultStream as ResultStream
    from .errors import AmorsizeError as AmorsizeError
    from .events import HookContext as HookContext
    from .events import HookEvent as HookEvent
    from .executor import AsyncExecutor as AsyncExecutor
    from .hooks import HookManager as HookManager
    from .hooks import create_error_hook as create_error_hook
    from .hooks import create_progress_hook as create_progress_hook
    from .hooks import create_throughput_hook as create_throughput_hook
    from .hooks import create_timing_hook as create_timing_hook
    from .policies import RetryPolicy as RetryPolicy
    from .report import Report as Report

_HOME = {
    "AmorsizeError": "errors",
    "AsyncExecutor": "executor",
    "HookContext": "events",
    "HookEvent": "events",
    "HookManager": "hooks",
    "Job": "_job",
    "Report": "report",
    "ResultStream": "_stream",
    "RetryPolicy": "policies",
    "create_error_hook": "hooks",
    "create_progress_hook": "hooks",
    "create_throughput_hook": "hooks",
    "create_timing_hook": "hooks",
    "execute": "_api",
    "execute_async": "_api",
    "stream_async": "_api",
}

_MODULES = ("errors", "events", "hooks", "policies", "report")


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
