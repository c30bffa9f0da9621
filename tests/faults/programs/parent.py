"""Has two workers, idle or busy, until somebody kills it: `parent.py START_METHOD LOAD BELL`."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from amorsize_async import AsyncExecutor
from faults import harm

LOADS = {"starting": harm.nap, "busy": harm.spin, "sleeping": harm.nap, "held": harm.hold_the_gil}


async def main(start: str, load: str, bell: str) -> None:
    """Ring twice when both workers are as they should be, then stay; "starting": ring before they are started."""
    if load == "starting":
        harm.ring(bell)
    async with AsyncExecutor(2, start_method=start) as executor:
        if load == "idle":
            await executor.execute(harm.perform, range(100))
            harm.ring(bell)
            harm.ring(bell)
            await asyncio.Event().wait()
        await executor.execute(harm.perform, [partial(harm.ring_and, bell, LOADS[load])] * 2, chunksize=1)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
