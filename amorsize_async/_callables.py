"""What a callback is: its colour, name and identity, and how dependent ones are called in turn. Counts nothing."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from .events import HookCallback, HookContext

__all__ = ("Chain", "call_steps", "identity", "name_of", "reject_awaitable", "steps_of")


def name_of(callback: object) -> str:
    """Return the name by which logs and statistics call ``callback``."""
    if isinstance(callback, functools.partial):
        return f"partial({name_of(callback.func)})"
    if isinstance(callback, Chain):
        return f"chain({', '.join(name_of(step) for step in callback.steps)})"
    name = getattr(callback, "__qualname__", None)
    if not isinstance(name, str):
        name = type(callback).__qualname__
    return name.rpartition("<locals>.")[2]


def identity(callback: object) -> tuple[int, object]:
    """Return a key equal for the same callback only.

    A bound method is a new object at each access, and any object may define ``==`` as it likes.
    """
    if isinstance(callback, types.MethodType):
        return id(callback.__self__), id(callback.__func__)
    if isinstance(callback, types.BuiltinMethodType):
        return id(callback.__self__), callback.__name__
    return id(callback), None


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Callbacks that depend on each other: one hook, strictly in order, up to the first failure."""

    steps: tuple[HookCallback, ...]
    """At least one; of either colour."""

    def __call__(self, context: HookContext) -> object:
        """Call the steps in turn; whoever calls a chain with ``async def`` steps directly is told to register it."""
        return call_steps(self.steps, context)


def steps_of(callback: HookCallback) -> tuple[HookCallback, ...]:
    """Return the steps of a chain, or the callback as the only one."""
    return callback.steps if isinstance(callback, Chain) else (callback,)


def reject_awaitable(awaitable: Awaitable[object]) -> object:
    """Refuse an awaitable where nothing can wait for it."""
    if inspect.iscoroutine(awaitable):
        awaitable.close()
    raise TypeError("a hook that must run at once returned an awaitable; register it with mode='async'")


def call_steps(
    steps: Sequence[HookCallback],
    context: HookContext,
    wait_for: Callable[[Awaitable[object]], object] = reject_awaitable,
) -> object:
    """Call each step with ``context``, or with the context that the step before returned.

    ``wait_for`` waits for what a step returns if it is awaitable.
    """
    result: object = None
    for step in steps:
        result = step(context)
        if result is not None and inspect.isawaitable(result):
            result = wait_for(result)
        if isinstance(result, HookContext):
            context = result
    return result
