"""Compress files as they arrive, from a source without end, and stop when enough came of it.

Shows `stream_async` over an async generator, results as they complete with their place in the input, how little is
read ahead, and that leaving the loop stops the work.

    python examples/streaming.py
"""

from __future__ import annotations

import asyncio
import itertools
import lzma
import sysconfig
import time
from collections.abc import AsyncIterator
from pathlib import Path

from amorsize_async import stream_async

ENOUGH = 60
"""Files to compress."""


class Arrivals:
    """The files of the standard library, over and over: an input without end, as a queue or a socket is one."""

    def __init__(self) -> None:
        self.files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
        self.count = 0
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[Path]:
        try:
            for path in itertools.cycle(self.files):
                await asyncio.sleep(0.001)  # where a real source would wait for the network
                self.count += 1
                yield path
        finally:
            self.closed = True


def compress(path: Path) -> tuple[str, int, int]:
    """Give a file's name, its size, and its size when it is compressed as far as it goes."""
    data = path.read_bytes()
    return path.name, len(data), len(lzma.compress(data, preset=9))


async def main() -> None:
    """Compress until there is enough, then leave."""
    arrivals = Arrivals()
    order, before, after = list[int](), 0, 0
    async with stream_async(compress, arrivals, ordered=False) as results:
        async for index, (name, size, compressed) in results.enumerate():
            order.append(index)
            before, after = before + size, after + compressed
            if len(order) % 10 == 0:
                print(f"{len(order):>4} files, {after / before:.0%} of their size; the last was no. {index}, {name}")
            if len(order) == ENOUGH:
                left = time.perf_counter()
                break
    print(f"stopped within {(time.perf_counter() - left) * 1e3:.0f} ms of the break")
    print(f"{arrivals.count - ENOUGH} more files had been read ahead; the source was closed: {arrivals.closed}")
    print(f"{sum(a > b for a, b in itertools.pairwise(order))} results overtook one that came before them in the input")


if __name__ == "__main__":
    asyncio.run(main())
