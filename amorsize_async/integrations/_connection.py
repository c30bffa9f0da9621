"""Notices at once that a connection is lost, through asyncio alone, for servers that do not tell their handlers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

__all__ = ("GONE", "cancelled_when_lost")

GONE = "the client has left"


@contextmanager
def cancelled_when_lost(transport: asyncio.Transport) -> Iterator[None]:
    """Cancel the current task, once, when the connection of `transport` is lost while this is entered.

    What the connection says goes through a protocol that hands everything on, as in asyncio's own `sendfile`.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("there is no task that could be cancelled here; enter this in a coroutine")
    watch = _watch_of(transport)
    watch.tasks[task] += 1
    try:
        yield
    finally:
        watch.tasks[task] -= 1
        watch.tasks += Counter()  # keeps what is above zero
        if not watch.tasks and transport.get_protocol() is watch:
            transport.set_protocol(watch.protocol)


def _watch_of(transport: asyncio.Transport) -> _Watch:
    """The one watch of a connection, however many ask for it at once, and in whichever order they leave."""
    protocol = transport.get_protocol()
    if isinstance(protocol, _Watch):
        return protocol
    watch = _Watch(cast("asyncio.Protocol", protocol))
    transport.set_protocol(watch)
    return watch


class _Watch(asyncio.Protocol):
    """Takes the place of a connection's protocol, as asyncio does to send a file, and hands on all that it is told.

    tasks: those to be cancelled when the connection is lost, and how many times each of them asked for it.
    """

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self.tasks: Counter[asyncio.Task[object]] = Counter()

    def connection_lost(self, exc: Exception | None) -> None:
        before = {task: task.cancelling() for task in self.tasks}
        self.protocol.connection_lost(exc)
        for task, cancelling in before.items():
            if task.cancelling() == cancelling:  # with handler_cancellation, aiohttp has done it
                task.cancel(GONE)

    def data_received(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self.protocol.eof_received()

    def pause_writing(self) -> None:
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        self.protocol.resume_writing()
