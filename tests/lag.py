"""How late the event loop is while something else goes on."""

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
