"""How fast a death is seen, a worker replaced, a call cancelled, a hang ended: medians and 95th percentiles of many."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial

import psutil
import pytest

from amorsize_async import AsyncExecutor, HookEvent, HookManager
from amorsize_async.errors import WorkerCrashedError
from faults import figures, harm
from faults.conftest import START_METHODS
from faults.kinds import HANGS_CAN_BE_ENDED

ROUNDS = 40
FEW = 10
"""For start methods to which nothing is promised: they must answer each time, and their times are only shown."""

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.mark.parametrize("start", START_METHODS)
async def test_A1_a_death_is_seen_and_the_worker_replaced(start, bell):  # noqa: N802 - scenarios are numbered
    """From SIGKILL of a busy worker to ON_WORKER_END, to the error, and to an answer from the next worker."""
    told, raised, answered, ours = [], [], [], start == "forkserver"
    hooks, name = HookManager(), loop_name()
    hooks.register(HookEvent.ON_WORKER_END, lambda _: told.append(time.perf_counter()), mode="inline")
    async with AsyncExecutor(1, start_method=start, max_item_deaths=1) as executor:
        for _ in range(ROUNDS if ours else FEW):
            call = busy_call(executor, bell, harm.nap, hooks=hooks)
            pid = await bell.rung()
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(WorkerCrashedError):
                await call
            raised.append(time.perf_counter() - began)
            told[-1] -= began
            assert await executor.execute(harm.perform, [3]) == [9]
            answered.append(time.perf_counter() - began)

    figures.times(f"SIGKILL to ON_WORKER_END, {start}, {name}", told, 0.010 if ours else None)
    figures.times(f"SIGKILL to WorkerCrashedError, {start}, {name}", raised, 0.010 if ours else None)
    figures.times(f"SIGKILL to the next answer, {start}, {name}", answered, 0.150 if ours else None)


@pytest.mark.parametrize("grace", [0.0, 0.1])
async def test_E4_a_call_with_busy_c_code_is_cancelled(bell, grace):  # noqa: N802
    """From cancel() to CancelledError, and then there is no process left that worked for it."""
    seconds, name = [], loop_name()
    async with AsyncExecutor(1, cancel_grace=grace) as executor:
        for _ in range(ROUNDS // 2):
            call = busy_call(executor, bell, harm.hold_the_gil)
            pid = await bell.rung()
            began = time.perf_counter()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            seconds.append(time.perf_counter() - began)
            assert not psutil.pid_exists(pid)

    figures.times(f"cancel() to CancelledError, GIL held, grace {grace} s, {name}", seconds, 0.200)


@pytest.mark.skipif(not HANGS_CAN_BE_ENDED, reason="there is no item_timeout yet")
async def test_D2_an_item_that_hangs_is_ended(bell):  # noqa: N802
    """Late by so much, from the moment that it may run no longer; the GIL is held."""
    late, name, limit = [], loop_name(), 0.1
    async with AsyncExecutor(1) as executor:
        for _ in range(ROUNDS // 2):
            call = busy_call(executor, bell, harm.hold_the_gil, item_timeout=limit)
            await bell.rung()
            began = time.perf_counter()
            with pytest.raises(TimeoutError):
                await call
            late.append(time.perf_counter() - began - limit)

    figures.times(f"item_timeout to ItemTimeoutError, GIL held, {name}", late, 0.100)


def busy_call(executor, bell, what, **options):
    """Begin a call of one item, which rings and then does `what`."""
    items = [partial(harm.ring_and, bell.path, what)]
    return asyncio.ensure_future(executor.execute(harm.perform, items, **options))


def loop_name():
    """Tell which kind of loop this is."""
    return "uvloop" if type(asyncio.get_running_loop()).__module__.startswith("uvloop") else "asyncio"
