"""How late the event loop is while something else goes on, and how often it turns."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager


@asynccontextmanager
async def lag_of_the_loop():
    """Collect how late a 1 ms ticker comes, in seconds."""
    lags: list[float] = []

    async def tick():
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - began - 0.001)

    ticker = asyncio.ensure_future(tick())
    yield lags
    ticker.cancel()


@asynccontextmanager
async def turns_of_the_loop():
    """Count the iterations of the loop, in the only item of a list; each is a chance for others."""
    turns = [0]

    async def turn():
        while True:
            await asyncio.sleep(0)
            turns[0] += 1

    counter = asyncio.ensure_future(turn())
    await asyncio.sleep(0)
    yield turns
    counter.cancel()
