"""The lanes of one execution together: opened on demand, waited for, closed in a bound. Nothing is routed here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextvars import copy_context
from typing import Any

import anyio

from ._hook import Hook, Subscription
from ._lanes import AsyncLane, InlineLane, Lane
from ._mailbox import NOT_CALLED, Delivery
from ._thread_lane import ThreadLane
from .events import HookCallback, HookContext

__all__ = ("Lanes", "deliver", "wait_apart")

GRACE = 0.2
"""Seconds that cancelled hooks get for their own clean-up before they count as abandoned."""
LANES: Mapping[str, Callable[..., Lane]] = {"async": AsyncLane, "thread": ThreadLane, "inline": InlineLane}


class Lanes:
    """One lane for each hook of one execution. To be made, used and closed on one loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._lanes: dict[Hook, Lane] = {}
        self._interrupted: asyncio.CancelledError | None = None

    def __repr__(self) -> str:
        return f"<Lanes {list(self._lanes.values())}>"

    def of(self, hook: Hook) -> Lane:
        """Return the lane of ``hook``; the first call opens it."""
        lane = self._lanes.get(hook)
        if lane is None:
            lane = self._lanes[hook] = LANES[hook.mode](hook, self._loop, self._context)
        return lane

    async def settle(self, seconds: float | None, lanes: Iterable[Lane] | None = None) -> None:
        """Wait until ``lanes`` (``None``: all) have nothing to do, at most ``seconds``."""
        waiters = [
            waiter for lane in (self._lanes.values() if lanes is None else lanes) if (waiter := lane.when_settled())
        ]
        if waiters:
            await asyncio.wait(waiters, timeout=seconds)

    async def aclose(self, bound: float) -> None:
        """Wait until all is delivered, at most ``bound`` seconds, then end every lane.

        A cancellation cuts the waiting short, not the ending, and goes on afterwards.
        """
        if not self._lanes:
            return
        # anyio cancels a task again at each await until its scope ends; only a shield gives the last events their time.
        with anyio.CancelScope(shield=True):
            await self._flush(bound)
            endings = [ending for lane in self._lanes.values() if (ending := lane.close()) is not None]
            if endings:
                await self._outlast(asyncio.wait(endings, timeout=GRACE))
            for lane in self._lanes.values():
                lane.end()
        self._lanes.clear()
        if self._interrupted is not None:
            raise self._interrupted

    async def _flush(self, bound: float) -> None:
        """Wait; at half time a lane that is behind drops all but the end of the execution, so that this arrives."""
        if bound > 0:
            await self._outlast(self.settle(bound / 2))
            for lane in self._lanes.values():
                lane.skip_to_end()
        if bound > 0 and self._interrupted is None:
            await self._outlast(self.settle(bound / 2))

    async def _outlast(self, waiting: Any) -> None:
        try:
            await waiting
        except asyncio.CancelledError as error:
            self._interrupted = error


async def deliver(subscriptions: Iterable[Subscription], context: HookContext) -> list[tuple[HookCallback, object]]:
    """Deliver one event outside of an execution; return what each called hook returned or raised."""
    lanes = Lanes()
    deliveries = [Delivery(context, entry) for entry in subscriptions if entry.admits(context)]
    try:
        for delivery in deliveries:
            lanes.of(delivery.subscription.hook).put(delivery)
        await lanes.settle(None)
    finally:
        await lanes.aclose(0.0)
    return [(each.subscription.hook.callback, each.outcome) for each in deliveries if each.outcome is not NOT_CALLED]


def wait_apart(awaitable: Any, timeout: float | None) -> object:
    """Wait for an awaitable from code without a loop, on a loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_bounded(awaitable, timeout))
    if asyncio.iscoroutine(awaitable):
        awaitable.close()
    raise RuntimeError("trigger() cannot wait for an async hook on a running loop; use await trigger_async(...)")


async def _bounded(awaitable: Any, seconds: float | None) -> object:
    async with asyncio.timeout(seconds):
        return await awaitable
