"""Named pipes by which workers tell that they are on an item: what tests wait for, instead of sleeping."""

from __future__ import annotations

import asyncio
import os
import select


class Bell:
    """Rung by `harm.ring`, with the pid of who rings."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path = str(path)
        # For writing too: without a writer, a pipe is at its end.
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        os.close(self._pipe)

    async def rung(self):
        """Wait on the loop for one ring; gives the pid."""
        loop = asyncio.get_running_loop()
        heard = loop.create_future()
        loop.add_reader(self._pipe, lambda: heard.done() or heard.set_result(None))
        try:
            async with asyncio.timeout(15):
                await heard
        finally:
            loop.remove_reader(self._pipe)
        return self._read()

    def wait(self, seconds=60):
        """Wait in a thread for one ring; gives the pid."""
        if not select.select([self._pipe], [], [], seconds)[0]:
            raise TimeoutError(f"nobody rang {self.path} within {seconds} s")
        return self._read()

    def _read(self):
        return int.from_bytes(os.read(self._pipe, 4), "little")
