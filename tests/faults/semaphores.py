"""The semaphores that this process makes: /dev/shm has those of all programs, and theirs are not ours to judge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import SemLock
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")


class Semaphores:
    """Those made while they were remembered."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def left(self) -> list[str]:
        """Name those that are still there."""
        return [name for name in self.names if (SHARED_MEMORY / f"sem.{name[1:]}").exists()]


@contextmanager
def remembered() -> Iterator[Semaphores]:
    """Remember each one by the name that multiprocessing gives it."""
    made, make = Semaphores(), SemLock._make_name

    def name() -> str:
        made.names.append(make())
        return made.names[-1]

    SemLock._make_name = staticmethod(name)
    try:
        yield made
    finally:
        SemLock._make_name = staticmethod(make)
