"""Workers that die from outside, idle, starting, or in the middle of something large: it costs nobody an item."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial

import pytest

from amorsize_async import AsyncExecutor
from amorsize_async.errors import WorkerStartError
from faults import harm
from faults.bells import Bell

BIG = 32 << 20
"""Bytes of an item or a result: many times what a pipe holds."""


@pytest.fixture
def gate(tmp_path):
    """Something for workers to wait at."""
    with Bell(tmp_path / "gate") as gate:
        yield gate


async def test_A6_an_idle_death_costs_nothing():  # noqa: N802 - scenarios are numbered
    """All workers of an idle pool are killed; the next call does not notice, nor the one after, ten times."""
    async with AsyncExecutor(2, max_item_deaths=1) as executor:
        for _ in range(10):
            for pid in executor.statistics().workers:
                os.kill(pid, signal.SIGKILL)
            assert await executor.execute(harm.perform, range(20)) == [n * n for n in range(20)]
            assert await executor.execute(harm.perform, range(20)) == [n * n for n in range(20)]


async def test_A7_a_death_while_starting_fails_no_call(bell, gate):  # noqa: N802
    """It counts against the worker: another one is started."""
    async with AsyncExecutor(1, initializer=harm.start_behind, initargs=(bell.path, gate.path)) as executor:
        assert await bell.rung() in executor.statistics().workers
        os.kill(executor.statistics().workers[0], signal.SIGKILL)
        call = asyncio.ensure_future(executor.execute(harm.perform, range(20)))
        for _ in range(2):
            os.kill(await bell.rung(), signal.SIGKILL)
        pid = await bell.rung()
        harm.ring(gate.path)

        assert await call == [n * n for n in range(20)]
        assert executor.statistics().workers == (pid,)


async def test_A7_starts_that_all_die_end_the_call(tmp_path):  # noqa: N802
    """A few are tried, not thousands; the error says so, and costs seconds at most."""
    async with AsyncExecutor(1, initializer=harm.start_once, initargs=(str(tmp_path / "starts"),)) as executor:
        os.kill(executor.statistics().workers[0], signal.SIGKILL)
        async with asyncio.timeout(10):
            with pytest.raises(WorkerStartError):
                await executor.execute(harm.perform, range(20))

    assert 2 <= len((tmp_path / "starts").read_text().split()) <= 11


async def test_A12_a_death_while_a_large_result_is_sent(bell):  # noqa: N802
    """The item runs again; another call's large results come through."""
    async with AsyncExecutor(2) as executor:
        other = asyncio.ensure_future(executor.execute(harm.perform, [partial(bytes, BIG)] * 4, n_jobs=1))
        call = asyncio.ensure_future(
            executor.execute(harm.perform, [partial(harm.ring_and, bell.path, partial(bytes, BIG))], n_jobs=1)
        )
        os.kill(await bell.rung(), signal.SIGKILL)

        assert [len(result) for result in await call] == [BIG]
        assert [len(result) for result in await other] == [BIG] * 4


async def test_A13_a_death_while_large_items_are_sent():  # noqa: N802
    """The worker dies of the first while the parent writes the next: no deadlock, and each is blamed for itself."""
    async with AsyncExecutor(2) as executor, asyncio.timeout(20):
        items = [partial(harm.exit_with, bytes(BIG // 8)) for _ in range(10)]
        results = await executor.execute(harm.perform, items, return_exceptions=True)

    assert [getattr(result, "index", None) for result in results] == list(range(10))
