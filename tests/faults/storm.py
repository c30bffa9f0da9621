"""Hundreds of faults on two pools at once: items that fail and kill on one, workers killed from outside on the other.

What came of it is counted in an `Outcome`; everything random comes from one seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from amorsize_async import AsyncExecutor, HookEvent, HookManager
from faults import harm
from faults.kinds import KINDS, Kind, complaint

CALL_SECONDS = 60.0
"""A call that is not done by then hangs: they take about one."""

CALLS_AT_ONCE = 4
ITEMS = 60
POISON = 4

INSIDE = [kind for kind in KINDS if not kind.options and kind.number != "A15"]
"""A15 is left out because its death comes late: it may rightly be blamed on whichever item runs then."""
HARMLESS = [kind for kind in INSIDE if not kind.lethal]


@dataclass(slots=True)
class Outcome:
    """What a storm did, and what came of it; all but the first four should be zero."""

    seed: int
    kills: int = 0
    poison: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    innocent: int = 0
    wrong: int = 0
    hangs: int = 0
    orphans: int = 0
    leftovers: int = 0
    seconds: float = 0.0
    details: list[str] = field(default_factory=list)


async def storm(seed: int, faults: int, outcome: Outcome) -> None:
    """Commit so many faults: half of them items that fail or kill, half of them kills of random workers."""
    began = time.monotonic()
    async with AsyncExecutor(2) as poisoned, AsyncExecutor(2, max_item_deaths=50) as hunted:
        hunter = Hunter(hunted, faults // 2, random.Random(f"{seed} hunter"))
        await asyncio.gather(
            _rounds(poisoned, INSIDE, random.Random(f"{seed} poison"), outcome, lambda: outcome.poison >= faults // 2),
            _rounds(hunted, HARMLESS, random.Random(f"{seed} hunt"), outcome, lambda: hunter.done, hooks=hunter.hooks),
        )
        hunter.join()
    outcome.kills = hunter.kills
    outcome.seconds = time.monotonic() - began


class Hunter:
    """A thread that kills random workers, each time after a chunk has ended somewhere: faster, and nothing would."""

    def __init__(self, executor: AsyncExecutor, kills: int, rng: random.Random) -> None:
        self.kills = 0
        self.hooks = HookManager()
        self.hooks.register(HookEvent.ON_CHUNK_COMPLETE, lambda _: self._seen.set(), mode="inline")
        self._executor, self._wanted, self._rng = executor, kills, rng
        self._seen = threading.Event()
        self._thread = threading.Thread(target=self._hunt, name="hunter", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether all kills are done."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait for the thread, which is done."""
        self._thread.join()

    def _hunt(self) -> None:
        killed: set[int] = set()
        while self.kills < self._wanted:
            self._seen.wait()
            self._seen.clear()
            time.sleep(self._rng.uniform(0, 0.01))  # any moment of an item's life, not the one after a reply
            workers = set(self._executor.statistics().workers)
            killed &= workers  # the system gives a pid again, in long storms
            prey = sorted(workers - killed)
            if prey:
                pid = self._rng.choice(prey)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
                    self.kills += 1


async def _rounds(
    executor: AsyncExecutor,
    kinds: list[Kind],
    rng: random.Random,
    outcome: Outcome,
    done: Callable[[], bool],
    **options: Any,
) -> None:
    """Make calls, some at once, until it is done; items of those under kills count as no faults."""
    while not done():
        calls = [_Call(executor, kinds, rng, options) for _ in range(CALLS_AT_ONCE)]
        for call in calls:
            outcome.poison += 0 if options else len(call.bad)
        await asyncio.gather(*(call.judged(outcome) for call in calls))


class _Call:
    """One call with some bad items, in one of the ways that calls can be made."""

    def __init__(self, executor: AsyncExecutor, kinds: list[Kind], rng: random.Random, options: dict[str, Any]) -> None:
        self.bad = {index: rng.choice(kinds) for index in rng.sample(range(ITEMS), POISON)}
        self._items = [
            self.bad[index].make() if index in self.bad else partial(harm.nap_and_square, rng.choice(NAPS), index)
            for index in range(ITEMS)
        ]
        self._way = rng.choice((self._executed, self._streamed, self._streamed_as_completed))
        self._executor = executor
        self._options = {**options, "chunksize": rng.choice((None, None, 1, 7)), "return_exceptions": True}
        self._got: list[tuple[int, Any]] = []

    async def judged(self, outcome: Outcome) -> None:
        """Run it and count what came of each item."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._way()
        except TimeoutError:
            outcome.hangs += 1
            outcome.details.append(f"{self._way.__name__} hung: {self._executor!r}")
        except Exception as exc:  # noqa: BLE001 - whatever it is, the storm counts it
            outcome.details.append(f"{self._way.__name__} raised {exc!r}")
        self._count(outcome)

    async def _executed(self) -> None:
        results = await self._executor.execute(harm.perform, self._items, **self._options)
        self._got.extend(enumerate(results))

    async def _streamed(self) -> None:
        async with self._executor.stream(harm.perform, iter(self._items), **self._options) as results:
            async for value in results:
                self._got.append((len(self._got), value))

    async def _streamed_as_completed(self) -> None:
        async with self._executor.stream(harm.perform, self._items, ordered=False, **self._options) as results:
            async for pair in results.enumerate():
                self._got.append(pair)

    def _count(self, outcome: Outcome) -> None:
        got = dict(self._got)
        outcome.delivered += len(self._got)
        outcome.duplicated += len(self._got) - len(got)
        outcome.lost += ITEMS - len(got)
        for index, value in got.items():
            if index in self.bad:
                wrong = complaint(self.bad[index], value, index)
                outcome.wrong += wrong is not None
                outcome.details.extend([wrong] if wrong else [])
            elif value != index * index:
                outcome.innocent += 1
                outcome.details.append(f"innocent item {index} gave {value!r}")


NAPS = (0.0, 0.0, 0.001, 0.002)
"""Seconds that an innocent item takes: about as long as a worker needs to be killed in the middle of one."""
