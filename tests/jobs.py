"""Functions that cross to workers by reference, as `jobs.<name>`. Standard library only, and no test lives here."""

from __future__ import annotations

import os
import time
from pathlib import Path


def identity(item):
    """Give the item back."""
    return item


def square(number):
    """Square a number."""
    return number * number


def pid_of(item):
    """Tell which process ran the item."""
    return os.getpid()


def nap(seconds):
    """Hold a worker for some seconds, and give them back."""
    time.sleep(seconds)
    return seconds


def raise_value_error(item):
    """Fail on every item, naming it."""
    raise ValueError(item)


def die(item):
    """End the worker without a word."""
    os._exit(17)


def tally(path_and_item):
    """Append the item to a file, in one write, so that a test can count who ran what; give the item back.

    Takes a pair: the path of the file, and the item.
    """
    path, item = path_and_item
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {item}\n")
    return item


async def square_soon(number):
    """Square a number after a turn of the loop."""
    import asyncio

    await asyncio.sleep(0)
    return number * number
