"""The questions: one module each, found by its file."""

from __future__ import annotations

import pkgutil
from collections.abc import Awaitable, Callable
from importlib import import_module

from ..answers import Answer, Settings

__all__ = ("about", "asker", "names")


def names() -> list[str]:
    """All questions, by name."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def asker(name: str) -> Callable[[Settings], Awaitable[Answer]]:
    """What to call to have a question answered."""
    ask: Callable[[Settings], Awaitable[Answer]] = import_module(f"{__name__}.{name}").ask
    return ask


def about(name: str) -> str:
    """The first line of a question's docstring: what is asked."""
    return (import_module(f"{__name__}.{name}").__doc__ or "").strip().splitlines()[0]
