"""Whether calling something gives a coroutine. Standard library only."""

from __future__ import annotations

import functools

__all__ = ("is_async_callable",)


def is_async_callable(callback: object) -> bool:
    """Tell whether calling ``callback`` gives a coroutine; sees through ``partial``, methods and ``__call__``."""
    from inspect import iscoroutinefunction  # late: a worker that is asked nothing starts sooner

    while isinstance(callback, functools.partial):
        callback = callback.func
    return iscoroutinefunction(callback) or (callable(callback) and iscoroutinefunction(type(callback).__call__))
