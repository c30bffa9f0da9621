"""The events of one execution on their way to its hooks: who gets what, the barrier, the flush. No lane is run here."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._delivery import Lanes
from ._lanes import Lane
from ._mailbox import NOT_CALLED, Delivery
from .events import HookContext, HookEvent

if TYPE_CHECKING:
    from ._hook import Subscription
    from .hooks import HookManager

__all__ = ("EventBus",)

BARRIER_SECONDS = 5.0
"""How long PRE_EXECUTE hooks that are not critical may hold a run up, whatever their own timeouts."""


BOTH_ENDS = (HookEvent.PRE_EXECUTE, HookEvent.POST_EXECUTE)
"""Events that every manager counts. Of the others, those that it listens to: nobody makes the rest."""


class EventBus:
    """Delivers the events of one execution. One attribute for each event tells whether anybody listens.

    ``if bus.on_progress: bus.emit(HookContext(HookEvent.ON_PROGRESS, ...))`` builds nothing for nobody. ``barrier`` is
    to be awaited once after PRE_EXECUTE and ``aclose`` once on every path, also where nobody listens: they count
    those two triggers then.
    """

    pre_execute: bool
    post_execute: bool
    on_worker_start: bool
    on_worker_end: bool
    on_chunk_complete: bool
    on_error: bool
    on_progress: bool

    def __init__(self, managers: Sequence[HookManager], execution_id: str) -> None:
        """Take a snapshot of ``managers``, each counted once; must be called on the running loop."""
        self.execution_id = execution_id
        self._managers = tuple(dict.fromkeys(managers))
        self._thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self._lanes = Lanes()
        self._gates: list[Delivery] = []
        self._counted: set[HookEvent] = set()
        self._closed = False
        self._routes: dict[HookEvent, tuple[tuple[Subscription, Lane], ...]] = {}
        self._listening: dict[HookEvent, tuple[HookManager, ...]] = dict.fromkeys(BOTH_ENDS, self._managers)
        for event in HookEvent:
            found = {manager: manager.subscriptions(event) for manager in self._managers}
            entries = [entry for each in found.values() for entry in each]
            self._listening.setdefault(event, tuple(manager for manager, each in found.items() if each))
            self._routes[event] = tuple((entry, self._lanes.of(entry.hook)) for entry in entries)
            setattr(self, event.value, bool(entries))

    def __repr__(self) -> str:
        return f"<EventBus {self.execution_id} {'closed' if self._closed else 'open'} {self._lanes}>"

    def emit(self, context: HookContext) -> None:
        """Send an event on its way; never waits, never raises. From another thread it goes by way of the loop."""
        if self._closed:
            return
        if threading.get_ident() != self._thread:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the execution with it
                self._loop.call_soon_threadsafe(self.emit, context)
            return
        event = context.event
        self._count(event)
        for subscription, lane in self._routes[event]:
            admitted = subscription.admits(context)
            if not admitted and not subscription.critical:
                continue
            delivery = Delivery(context, subscription)
            if subscription.critical and (admitted or subscription.hook.breaker.stuck):
                self._gates.append(delivery)
            if admitted:
                lane.put(delivery)

    async def barrier(self) -> None:
        """Wait until the hooks have handled what was emitted so far; raise what a critical one raised.

        Each is waited for until its own timeout, and for ``BARRIER_SECONDS`` at most if it is not critical. For a
        critical hook without an answer (timeout, stuck in an earlier execution) it raises ``TimeoutError``: the gate
        is shut.
        """
        self._count_unheard(HookEvent.PRE_EXECUTE)
        if not self._routes[HookEvent.PRE_EXECUTE]:
            return
        await self._lanes.settle(BARRIER_SECONDS)
        gates, self._gates = self._gates, []
        if gates:
            await self._lanes.settle(None, [self._lanes.of(gate.subscription.hook) for gate in gates])
        for gate in gates:
            _pass(gate)

    async def aclose(self, *, bound: float = 5.0) -> None:
        """Deliver what waits, for at most ``bound`` seconds, then end every lane.

        Async hooks are cancelled then, hung threads abandoned and named in the log. May be called while the calling
        task is being cancelled; a further cancellation cuts the waiting short and then goes on. A second call does
        nothing.
        """
        if self._closed:
            return
        self._closed = True
        self._count_unheard(HookEvent.POST_EXECUTE)
        await self._lanes.aclose(bound)

    def _count(self, event: HookEvent) -> None:
        self._counted.add(event)
        for manager in self._listening[event]:
            manager.count(event)

    def _count_unheard(self, event: HookEvent) -> None:
        """Count a trigger that was not emitted because nobody listens, so that statistics do not depend on it."""
        if event not in self._counted:
            self._count(event)


def _pass(gate: Delivery) -> None:
    """Raise what a critical hook has against the run."""
    outcome, name = gate.outcome, gate.subscription.hook.name
    if isinstance(outcome, Exception):
        raise outcome
    if isinstance(outcome, BaseException):
        # As itself, KeyboardInterrupt or SystemExit would end the loop, and CancelledError look like a cancelled run.
        raise RuntimeError(f"the critical hook {name} raised {type(outcome).__name__}") from outcome  # noqa: TRY004 - no type error
    if outcome is NOT_CALLED and gate.subscription.live:
        raise TimeoutError(f"the critical hook {name} was not called: an earlier call of it is still stuck")
