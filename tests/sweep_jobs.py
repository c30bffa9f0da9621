"""Functions of the sweeps and of the state machine that cross to workers, as `sweep_jobs.<name>`."""

from __future__ import annotations

import os
import signal
import threading
import time


def triple(number):
    """Three times a number."""
    return 3 * number


def die_on_two(number):
    """End the process on a two; three times any other number."""
    if number == 2:
        os._exit(9)
    return 3 * number


def sleep_on_two(number):
    """Never come back from a two."""
    if number == 2:
        time.sleep(3600)
    return 3 * number


async def triple_soon(number):
    """Three times a number, after a turn of the worker's loop."""
    import asyncio

    await asyncio.sleep(0)
    return 3 * number


def behave(item):
    """Do to the worker what the item says: ("ok" | "slow" | "raise" | "exit" | "kill" | "unpicklable", value)."""
    what, value = item
    if what == "slow":
        time.sleep(0.002)
    elif what == "raise":
        raise LookupError(value)
    elif what == "exit":
        os._exit(0)
    elif what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "unpicklable":
        return threading.Lock()
    return value
