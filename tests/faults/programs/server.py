"""An ASGI application as people write it, with no code for its end, on uvicorn: `server.py SOCKET BELL`."""

from __future__ import annotations

import sys
from functools import partial

import uvicorn

from amorsize_async import execute_async
from faults import harm

SOCKET, BELL = sys.argv[1:]


async def app(scope, receive, send):
    """Answer one request; `/slow` never ends."""
    if scope["type"] != "http":
        return
    slow = [partial(harm.ring_and, BELL, harm.spin)] * 2
    await execute_async(harm.perform, slow if scope["path"] == "/slow" else range(10), n_jobs=2, chunksize=1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})


class Server(uvicorn.Server):
    """Rings when it listens."""

    async def startup(self, sockets=None):
        """Start as always."""
        await super().startup(sockets)
        harm.ring(BELL)


if __name__ == "__main__":
    Server(uvicorn.Config(app, uds=SOCKET, log_level="error", lifespan="off", timeout_graceful_shutdown=1)).run()
