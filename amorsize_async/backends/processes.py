"""Processes as multiprocessing makes them, mended from outside by its public names: what a slot is started in."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from multiprocessing.connection import wait as wait_for_sentinels
from multiprocessing.process import BaseProcess
from typing import Any, cast

from .._replies import Replies

__all__ = ("Context", "main_not_imported")


class Context:
    """A multiprocessing context that remembers the process it made: the public way to a worker's pid and to `kill`.

    For a pool of one worker: what it gives that for its results ends with the worker.
    """

    def __init__(self, start_method: str) -> None:
        self._context = multiprocessing.get_context(start_method)
        self.process: BaseProcess | None = None
        self.replies: Replies | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def Process(self, *args: Any, **kwargs: Any) -> BaseProcess:  # noqa: N802 - the name of the original
        """A process, not started yet."""
        process: BaseProcess = _one_at_a_time(getattr(self._context, "Process"))(*args, **kwargs)  # noqa: B009
        self.process = process
        return process

    def SimpleQueue(self) -> Any:  # noqa: N802 - the name of the original
        """What a pool asks for, once, to have its results in."""
        self.replies = Replies(self._context)
        return self.replies

    def started(self) -> None:
        """Leave to the process, which has been started, what is its own."""
        if self.replies is not None:
            self.replies.only_read()
            self.replies = None


_reaping = threading.Lock()


def _one_at_a_time(base: Any) -> Any:
    """The class of processes `base`, of which one at a time is started or reaped.

    Starting a process polls all others (`multiprocessing.process._cleanup`), asking for an exit code polls, and of two
    threads that poll the same dead child at once, one gets a wrong exit code: 255 from a fork server, None else.
    """

    class Process(base):  # type: ignore[misc]
        def start(self) -> None:
            self._starter = os.getpid()
            with _reaping:
                super().start()

        def is_alive(self) -> bool:
            with _reaping:
                return bool(super().is_alive())

        @property
        def exitcode(self) -> int | None:
            with _reaping:
                return cast(int | None, super().exitcode)

        def join(self, timeout: float | None = None) -> None:
            if os.getpid() != self._starter:  # a fork of the application, at its exit: the worker is its parent's
                return
            wait_for_sentinels([self.sentinel], timeout)
            with _reaping:
                super().join(0 if timeout is not None else None)

        def __reduce__(self) -> tuple[Any, ...]:
            return object.__new__, (base,), self.__dict__  # in the child it is a plain process

    return Process


_naming_main = threading.Lock()


@contextmanager
def main_not_imported() -> Iterator[None]:
    """Start a process that does not import the caller's `__main__`.

    multiprocessing tells a child to import the parent's main module, which runs a script without a guard again, needs
    a file that a notebook does not have, and pulls an application's imports into each worker. Our functions from
    `__main__` travel by value, so nobody needs it. A main module whose spec is named `__main__` is what multiprocessing
    itself takes for one that cannot be imported (a zip file or folder); it looks while the process is being started.
    """
    main = sys.modules["__main__"]
    with _naming_main:
        before = {"__spec__": main.__spec__} if hasattr(main, "__spec__") else {}  # `%reset` in a notebook deletes it
        main.__spec__ = ModuleSpec("__main__", None)
        try:
            yield
        finally:
            del main.__spec__
            vars(main).update(before)


def _forked() -> None:
    """In a fork of this application: locks that another thread held will never be given back there."""
    global _reaping, _naming_main
    _reaping, _naming_main = threading.Lock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
