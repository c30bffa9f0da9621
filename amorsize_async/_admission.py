"""How many calls an executor takes at once, and when those that are refused may come again; pure: no loop, no call."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from .errors import ExecutorSaturatedError

__all__ = ("Admission", "Ticket")

REMEMBERED_CALLS = 32
# Calls that the advice when to come again looks back on: enough to even out small and large ones, few enough to follow
# a change of what is asked for within seconds on a busy service.

SHORTEST_RETRY = 1.0
# Seconds. The least that a `Retry-After` header can say, and soon enough for a person.


class Ticket:
    """The right of one call to be in the executor, until it leaves."""

    __slots__ = ("_admission", "began")

    def __init__(self, admission: Admission, began: float) -> None:
        self._admission: Admission | None = admission
        self.began: float = began

    def leave(self) -> None:
        """Give the right back; safe to call again."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.left(self)

    async def aclose(self) -> None:
        """As `leave`, for those who await the end of what they use."""
        self.leave()


class Admission:
    """Counts calls in and out. max_pending: the most at once, waiting or running; None: any number."""

    def __init__(self, max_pending: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_pending: int | None = max_pending
        self._clock = clock
        self._inside: dict[Ticket, None] = {}
        self._took: deque[float] = deque(maxlen=REMEMBERED_CALLS)

    def __repr__(self) -> str:
        return f"<Admission {self.pending} of {'any number' if self.max_pending is None else self.max_pending}>"

    @property
    def pending(self) -> int:
        """Calls that are in."""
        return len(self._inside)

    def enter(self) -> Ticket:
        """Let one more call in; raises ExecutorSaturatedError if there are as many as may be."""
        if self.max_pending is not None and self.pending >= self.max_pending:
            wait = self.retry_after()
            raise ExecutorSaturatedError(
                f"the executor has {self.pending} calls, its max_pending; try again in about {wait:.0f} s, "
                "or give it a larger max_pending",
                pending=self.pending,
                max_pending=self.max_pending,
                retry_after=wait,
            )
        ticket = Ticket(self, self._clock())
        self._inside[ticket] = None
        return ticket

    def left(self, ticket: Ticket) -> None:
        """Note that a call has ended; called by its ticket, once."""
        del self._inside[ticket]
        self._took.append(self._clock() - ticket.began)

    def retry_after(self) -> float:
        """Seconds until a call may well be let in: what recent calls took, or the oldest that is in, so far.

        The mean of whole calls, not the time between two ends: those who are refused together come again together.
        """
        if self._took:
            return max(SHORTEST_RETRY, sum(self._took) / len(self._took))
        oldest = min((ticket.began for ticket in self._inside), default=self._clock())
        return max(SHORTEST_RETRY, self._clock() - oldest)
