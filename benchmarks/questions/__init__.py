"""The questions: one module each, found by its file."""

from __future__ import annotations

import pkgutil
from collections.abc import Awaitable, Callable
from importlib import import_module

from ..answers import Answer, Settings

__all__ = ("about", "asker", "names", "parts")


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


def parts(name: str) -> tuple[str, ...]:
    """What a question is asked about one after the other, its `PARTS`; ("",) for one that is asked as a whole."""
    found: tuple[str, ...] = getattr(import_module(f"{__name__}.{name}"), "PARTS", ("",))
    return found
