"""Workers of our own: a pool of slots, started when they are needed, replaced when they die, and not in a storm."""

from __future__ import annotations

import asyncio
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from .. import _system
from .._arena import Arenas
from .._sharing import Share
from .._shielding import finish
from ..errors import WorkerStartError
from .place import Place
from .pool import Pool
from .slot import Slot, SlotSettings

__all__ = ("LocalPool", "start_delay")

START_ATTEMPTS = 3
# Times that a worker is started, if the system refuses it something or it dies at once, before that is an error.

FIRST_DELAY, LONGEST_DELAY = 0.05, 5.0
# Seconds before the next start after a failed one; they double from one to the next.

FREE_DEATHS = 8
SHORTEST_CRASH_DELAY, LONGEST_CRASH_DELAY = 0.001, 0.1
# So many workers may die at work one after the other and be replaced at once; then seconds that double in the same way.


def start_delay(failed_starts: int, deaths: int) -> float:
    """Seconds to wait before a worker is started, after so many failed starts and deaths without a success between."""
    after_starts = _doubling(FIRST_DELAY, failed_starts, LONGEST_DELAY)
    return max(after_starts, _doubling(SHORTEST_CRASH_DELAY, deaths - FREE_DEATHS, LONGEST_CRASH_DELAY))


def _doubling(first: float, times: int, longest: float) -> float:
    # The exponent is bounded: beyond it every wait is the longest, and a float would overflow.
    return min(longest, first * 2.0 ** min(times - 1, 32)) if times > 0 else 0.0


@dataclass(slots=True)
class _Starts:
    """Starts and burials that are under way, and how the last ones went.

    failed, deaths: failed starts and deaths at work, without a success between. error: what the last start that failed
    said, "" once one went well; as text, since an exception holds all that was at work when it was raised.
    """

    tasks: set[asyncio.Task[Slot]] = field(default_factory=set)
    burials: set[asyncio.Task[Any]] = field(default_factory=set)
    failed: int = 0
    deaths: int = 0
    error: str = ""


class LocalPool(Pool):
    """Up to `n_jobs` slots, each started when it is first needed."""

    kills: bool = True

    def __init__(self, n_jobs: int, settings: SlotSettings) -> None:
        super().__init__("process")
        self.arenas: Arenas | None = Arenas() if _system.has_nameless_files() else None
        self.n_jobs: int = n_jobs
        self.started: int = 0
        self._settings = settings
        self._starts = _Starts()

    @property
    def capacity(self) -> int:
        """Workers it may have."""
        return self.n_jobs

    @property
    def complaints(self) -> list[str]:
        """Why it has fewer workers than it may, if some could not be started, and why it shares no memory with them."""
        found = []
        if self._starts.error:
            found.append(f"it ran on {len(self.places)} of {self.n_jobs} workers: {self._starts.error}")
        if self.arenas is not None and self.arenas.refused:
            found.append(self.arenas.refused)
        return found

    async def start_all(self) -> None:
        """Start every slot and wait for them; raises WorkerStartError if one cannot be started."""
        self.refuse_if_closed()
        self._start(self.n_jobs)
        await asyncio.gather(*self._starts.tasks)

    def prepare(self, share: Share, wanted: int) -> None:
        """Start slots so that `share` can have `wanted` of them."""
        self._start(min(share.limit, wanted))

    def healthy(self) -> None:  # noqa: D102 - see Pool
        self._starts.deaths = 0

    def broke(self, place: Place) -> None:  # noqa: D102 - see Pool
        self._starts.deaths += place in self.places
        super().broke(place)

    def _more_to_come(self, share: Share) -> bool:
        return bool(self._starts.tasks) and len(share.held) < share.limit

    def _make_more(self) -> None:
        if len(self.places) + len(self._starts.tasks) >= self.n_jobs:
            return  # at once, since hundreds of calls may wait, and each chunk of them comes by here
        waiting = self._waiting.items()
        self._start(sum(len(waiters) for share, waiters in waiting if len(share.held) < share.limit))

    def _start(self, wanted: int) -> None:
        """Have `wanted` slots that are idle or being started, but no more than `n_jobs` with the busy ones."""
        idle = sum(not place.load and not place.worn for place in self.places)
        coming = len(self._starts.tasks)
        for _ in range(min(wanted - idle - coming, self.n_jobs - len(self.places) - coming)):
            task = asyncio.get_running_loop().create_task(self._opened(), name="amorsize-start")
            self._starts.tasks.add(task)
            task.add_done_callback(self._started)

    async def _opened(self) -> Slot:
        """A slot that is ready; what may go better another time is tried again, each time after a longer wait."""
        for attempt in range(START_ATTEMPTS - 1):
            try:
                return await self._opened_at_once(attempt)
            except WorkerStartError as exc:
                if not exc.transient:
                    raise
        return await self._opened_at_once(START_ATTEMPTS - 1)

    async def _opened_at_once(self, attempt: int) -> Slot:
        # While there are workers nobody waits for this one alone, so it need not hurry; without any, a call does.
        failed = self._starts.failed if self.places else attempt
        await asyncio.sleep(start_delay(failed, self._starts.deaths))
        slot = Slot(self._settings)
        try:
            await slot.open()
        except asyncio.CancelledError:
            self._bury(slot)
            raise
        except Exception as exc:  # whatever it is, it is counted and goes on to who waits
            self._starts.failed += 1
            self._starts.error = str(exc)
            raise
        self._starts.failed, self._starts.error = 0, ""
        return slot

    def _started(self, task: asyncio.Task[Slot]) -> None:
        self._starts.tasks.discard(task)
        failed = asyncio.CancelledError() if task.cancelled() else task.exception()
        if failed is None and self.closed:
            self._bury(task.result())
        elif failed is None:
            self.started += 1
            self.places.append(task.result())
        if isinstance(failed, Exception) and not self.places and not self._starts.tasks:
            self._give_up(failed)
        self._grant()
        if failed is None or (task.cancelled() and not self.closed):  # cancelled alone: others still wait for it
            self._make_more()

    def _give_up(self, failed: Exception) -> None:
        """Tell all who wait that there will be no worker: none is there, none is coming."""
        for waiter in [waiter for waiters in self._waiting.values() for waiter in waiters]:
            if not waiter.done():
                waiter.set_exception(_one_of_its_own(failed))

    def _remove(self, place: Place) -> None:
        if isinstance(place, Slot) and place in self.places:
            self._bury(place)
        super()._remove(place)
        self._make_more()

    def _bury(self, slot: Slot) -> None:
        """Reap a slot in the background; `aclose` waits for it."""
        task = asyncio.get_running_loop().create_task(slot.aclose(), name="amorsize-bury")
        self._starts.burials.add(task)
        task.add_done_callback(self._starts.burials.discard)

    async def aclose(self, drain: float = 0.0) -> None:
        """Close all slots: idle workers end by themselves, busy ones are killed."""
        try:
            await super().aclose(drain)
        finally:
            await finish(self._end_all())

    async def _end_all(self) -> None:
        for task in self._starts.tasks:
            task.cancel()
        for place in list(self.places):
            if place.load:
                self.kill(place)
            else:
                self._remove(place)
        while pending := {*self._starts.tasks, *self._starts.burials}:
            await asyncio.wait(pending)


def _one_of_its_own(error: Exception) -> Exception:
    """An error of a start for one of several who wait: what is noted on one, and its traceback, is not the others'."""
    if not isinstance(error, WorkerStartError):
        return error
    other = copy(error)
    other.__cause__ = error.__cause__
    return other
