"""The bounded queue before one hook: what waits, what gives way. No lock and no loop here: its lane sees to both."""

from __future__ import annotations

from collections import deque
from typing import Final

from ._hook import Subscription
from .events import HookContext, HookEvent

__all__ = ("NOT_CALLED", "Delivery", "Mailbox")

LIMIT = 1024
"""Events that may wait for one hook: half a minute of a busy run, about 1 MiB of contexts."""
NOT_CALLED: Final = object()
"""The outcome of a delivery that never reached its hook."""


class Delivery:
    """One event on its way to one hook."""

    __slots__ = ("context", "outcome", "subscription", "void")

    def __init__(self, context: HookContext, subscription: Subscription) -> None:
        self.context = context
        self.subscription = subscription
        self.outcome: object = NOT_CALLED
        """What the hook returned or the exception it raised."""
        self.void = False
        """A newer event took its place."""

    @property
    def event(self) -> HookEvent:
        """What happened."""
        return self.context.event


class Mailbox:
    """Keeps deliveries in order. A waiting ON_PROGRESS gives way to a newer one; when full, the oldest other does."""

    __slots__ = ("_entries", "_limit", "_live", "_progress")

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._entries: deque[Delivery] = deque()
        self._live = 0
        self._progress: Delivery | None = None

    def __len__(self) -> int:
        return self._live

    def __repr__(self) -> str:
        return f"<Mailbox {self._live} of {self._limit}>"

    def put(self, delivery: Delivery) -> Delivery | None:
        """Add ``delivery``; return the one that gave way to it."""
        displaced = None
        if delivery.event is HookEvent.ON_PROGRESS:
            displaced, self._progress = self._progress, delivery
            if displaced is not None:
                self._void(displaced)
        elif self._live >= self._limit:
            displaced = self._give_up_oldest()
        self._entries.append(delivery)
        self._live += 1
        return displaced

    def take(self) -> Delivery | None:
        """Remove and return the oldest delivery, or ``None``."""
        while self._entries:
            delivery = self._entries.popleft()
            if not delivery.void:
                self._live -= 1
                if delivery is self._progress:
                    self._progress = None
                return delivery
        return None

    def skip_to_end(self) -> int:
        """Remove all but the end of the execution and the progress; return how many that were."""
        kept = [each for each in self._entries if each is self._progress or each.event is HookEvent.POST_EXECUTE]
        lost = self._live - len(kept)
        self._entries, self._live = deque(kept), len(kept)
        return lost

    def clear(self) -> int:
        """Remove all; return how many there were."""
        lost, self._live, self._progress = self._live, 0, None
        self._entries.clear()
        return lost

    def _void(self, delivery: Delivery) -> None:
        """Empty a place in constant time; the order stays, and there is at least one live entry between two voids."""
        self._live -= 1
        if self._entries[-1] is delivery:
            self._entries.pop()
        else:
            delivery.void = True

    def _give_up_oldest(self) -> Delivery | None:
        """Drop the oldest but never the waiting progress: there is one, and it may be the last of the run."""
        progress = self._progress
        oldest = self.take()
        if oldest is not None and oldest is progress:
            successor = self.take()
            self._entries.appendleft(oldest)
            self._progress = oldest
            self._live += 1
            return successor
        return oldest
