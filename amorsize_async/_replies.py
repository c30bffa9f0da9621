"""The pipe by which the replies of one worker come home; nothing is known of what they say."""

from __future__ import annotations

from multiprocessing.context import BaseContext
from typing import Any

__all__ = ("Replies",)


class Replies:
    """What a pool's worker puts its results into, and what the pool reads them from.

    In place of multiprocessing's own queue, of which the parent holds the writing end, too: when a worker was killed in
    the middle of a reply, whoever read that here would wait for the rest of it for ever. `_reader` is the name by which
    `ProcessPoolExecutor` knows it.
    """

    def __init__(self, context: BaseContext) -> None:
        self._reader, self._writer = context.Pipe(duplex=False)

    def __getstate__(self) -> Any:
        return self._writer

    def __setstate__(self, writer: Any) -> None:
        self._writer = writer

    def put(self, reply: object) -> None:
        """Send one: the only writer is the only thread of the worker that has results."""
        self._writer.send(reply)

    def only_read(self) -> None:
        """Let the worker, which must have been started, be the only one who can write: its death is then the end."""
        self._writer.close()

    def close(self) -> None:
        """Close what is open here."""
        self._reader.close()
        self._writer.close()
