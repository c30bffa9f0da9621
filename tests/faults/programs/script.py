"""A script in the middle of its work, as people write one, without a guard: `script.py BELL LOAD`."""

from __future__ import annotations

import asyncio
import sys
import time

from amorsize_async import execute_async

BELL, LOAD = sys.argv[1:]


def work(number):
    """Take a second or an hour, in Python or in C."""
    from faults import harm

    harm.ring(BELL)
    if LOAD == "held":
        harm.hold_the_gil()
    time.sleep(2.0)


asyncio.run(execute_async(work, range(1000), n_jobs=2, chunksize=1))
