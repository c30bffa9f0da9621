"""Notices at once that a connection is lost, through asyncio alone, for servers that do not tell their handlers."""

from __future__ import annotations

import asyncio
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
    watch = _Watch(cast("asyncio.Protocol", transport.get_protocol()), task)
    transport.set_protocol(watch)
    try:
        yield
    finally:
        if transport.get_protocol() is watch:
            transport.set_protocol(watch.protocol)


class _Watch(asyncio.Protocol):
    """Takes the place of a connection's protocol, as asyncio does to send a file, and hands on all that it is told."""

    def __init__(self, protocol: asyncio.Protocol, task: asyncio.Task[object]) -> None:
        self.protocol = protocol
        self._task = task

    def connection_lost(self, exc: Exception | None) -> None:
        cancelling = self._task.cancelling()
        self.protocol.connection_lost(exc)
        if self._task.cancelling() == cancelling:  # with handler_cancellation, aiohttp has done it
            self._task.cancel("the client has left")

    def data_received(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self.protocol.eof_received()

    def pause_writing(self) -> None:
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        self.protocol.resume_writing()
