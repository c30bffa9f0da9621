"""What is remembered of one run's events, for readers who come late or are slow; pure: nobody waits here."""

from __future__ import annotations

from bisect import bisect_right

from .events import HookContext, HookEvent

__all__ = ("REMEMBERED_EVENTS", "History")

REMEMBERED_EVENTS = 256
# Events kept for those who come late: some seconds of chunks of a large run, and at most some 200 KiB.


class History:
    """The events of one run by their sequence: the first, the last, the newest progress, and the newest of the rest.

    At most `limit` of them. Numbers in events are cumulative, so what is forgotten falsifies nothing.
    """

    def __init__(self, limit: int = REMEMBERED_EVENTS) -> None:
        self._limit = limit
        self._events: list[HookContext] = []
        self._progress = -1

    def __repr__(self) -> str:
        return f"<History {len(self._events)} events, the last {self.newest.event.value if self.newest else 'none'}>"

    @property
    def first(self) -> HookContext | None:
        """The run's first event, None before there is one."""
        return self._events[0] if self._events else None

    @property
    def newest(self) -> HookContext | None:
        """The event that came last, None before there is one."""
        return self._events[-1] if self._events else None

    @property
    def ended(self) -> bool:
        """Whether the run has said its last word."""
        return self.newest is not None and self.newest.event is HookEvent.POST_EXECUTE

    def add(self, context: HookContext) -> None:
        """Remember the next event; an older progress, or if there are too many, an older event, is forgotten."""
        if context.event is HookEvent.ON_PROGRESS:
            self._forget(self._progress)
            self._progress = context.sequence
        self._events.append(context)
        if len(self._events) > self._limit:
            del self._events[self._least_missed()]

    def after(self, sequence: int) -> HookContext | None:
        """The oldest event that is remembered and later than `sequence`, None if there is none yet."""
        place = self._place_after(sequence)
        return self._events[place] if place < len(self._events) else None

    def _place_after(self, sequence: int) -> int:
        return bisect_right(self._events, sequence, key=lambda context: context.sequence)

    def _forget(self, sequence: int) -> None:
        place = self._place_after(sequence) - 1
        if place >= 0 and self._events[place].sequence == sequence:
            del self._events[place]

    def _least_missed(self) -> int:
        """The oldest completed chunk; where there is none, the oldest event but the first, and the newest progress."""
        chunks = (i for i, context in enumerate(self._events) if context.event is HookEvent.ON_CHUNK_COMPLETE)
        return next(chunks, 2 if self._events[1].sequence == self._progress else 1)
