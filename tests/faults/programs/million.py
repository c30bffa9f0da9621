"""Streams a million items and prints how many MiB this process has grown meanwhile, at most."""

from __future__ import annotations

import asyncio
import sys

import psutil

from amorsize_async import AsyncExecutor
from faults import harm

ITEMS = 1_000_000
WARM = 50_000
"""Items after which everything that is loaded once has been loaded."""


async def main() -> None:
    """Look at each fifty-thousandth item, which must be the right one."""
    this, sizes = psutil.Process(), []
    async with AsyncExecutor(2) as executor, executor.stream(harm.perform, iter(range(ITEMS))) as results:
        count = 0
        async for value in results:
            if count % WARM == 0:
                assert value == count * count
                sizes.append(this.memory_info().rss)
            count += 1
    assert count == ITEMS
    sys.stdout.write(f"{(max(sizes) - sizes[0]) / 2**20:.1f} {(max(sizes) - sizes[1]) / 2**20:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
