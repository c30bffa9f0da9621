"""What users pass to a HookManager, checked: each message gives the fact, the value and the way out. Keeps no state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import get_args

from ._callables import name_of, steps_of
from ._coroutines import is_async_callable
from ._hook import Mode, ResolvedMode
from .events import HookCallback, HookContext, HookEvent

__all__ = (
    "check_callback",
    "check_seconds",
    "check_when",
    "context_of",
    "events_of",
    "listed",
    "one_event",
    "resolved_mode",
)


def resolved_mode(mode: Mode, callback: HookCallback) -> ResolvedMode:
    """Return where ``callback`` is to run; ``ValueError`` if it cannot run there."""
    if mode not in get_args(Mode):
        raise ValueError(f"{mode!r} is no mode; use one of {', '.join(map(repr, get_args(Mode)))}")
    colours = {is_async_callable(step) for step in steps_of(callback)}
    if mode == "auto":
        # A mixed chain lives in a thread and has its async steps awaited on the loop: the plain ones never block it.
        return "async" if colours == {True} else "thread"
    if mode != "async" and True in colours:
        raise ValueError(
            f"mode={mode!r} cannot run the async callback {name_of(callback)}; leave mode out or use mode='async'"
        )
    return mode


def one_event(event: object) -> HookEvent:
    """Return ``event`` if it is one."""
    if not isinstance(event, HookEvent):
        raise TypeError(f"{event!r} is no HookEvent; use one of {listed(HookEvent)}")
    return event


def events_of(event: object) -> tuple[HookEvent, ...]:
    """Return the events that ``event`` stands for: itself, or what it iterates over."""
    if isinstance(event, HookEvent | str) or not isinstance(event, Iterable):
        return (one_event(event),)
    events = tuple(dict.fromkeys(one_event(each) for each in event))
    if not events:
        raise ValueError("no event to register for; name at least one HookEvent")
    return events


def listed(events: Iterable[HookEvent]) -> str:
    """Return events as the user writes them."""
    return ", ".join(f"HookEvent.{event.name}" for event in events)


def check_callback(callback: object) -> None:
    """Raise ``TypeError`` unless ``callback`` can be called."""
    if not callable(callback):
        raise TypeError(
            f"a hook must be callable with one HookContext, but {callback!r} is a {type(callback).__name__}; "
            "pass the function itself"
        )


def check_when(when: object) -> None:
    """Raise ``TypeError`` unless ``when`` is a plain callable or ``None``."""
    if when is not None and (not callable(when) or is_async_callable(when)):
        raise TypeError(
            f"when must be a plain function of the context that returns a bool, not {when!r}; "
            "ask async questions in the hook"
        )


def check_seconds(name: str, seconds: object) -> None:
    """Raise unless ``seconds`` is a number above 0 or ``None``."""
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{name} must be a number of seconds or None, not {seconds!r}")
    if not seconds > 0:
        raise ValueError(f"{name} must be more than 0 seconds, not {seconds!r}; None means no limit")


def context_of(event_or_context: object, context: HookContext | None) -> HookContext:
    """Return the context to deliver for ``trigger(context)`` or ``trigger(event, context)``."""
    if isinstance(event_or_context, HookContext):
        if context is not None:
            raise ValueError("two contexts; write trigger(context) or trigger(event, context)")
        return event_or_context
    if not isinstance(event_or_context, HookEvent):
        raise TypeError(f"the first argument must be a HookEvent or a HookContext, not {event_or_context!r}")
    if not isinstance(context, HookContext | None):
        raise TypeError(f"the second argument must be a HookContext, not {context!r}")
    if context is None:
        raise ValueError(f"{event_or_context} without a context; write trigger(event, HookContext(event))")
    if context.event is event_or_context:
        return context
    return replace(context, event=event_or_context, metadata=dict(context.metadata))
