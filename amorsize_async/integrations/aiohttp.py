"""aiohttp: an executor that lives as long as the application, errors as answers, a job's events as a stream.

app = web.Application()
setup(app, AsyncExecutor(max_pending=64))  # in a handler: request.app[EXECUTOR]
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from aiohttp import web

from .._job import Job
from ..errors import ExecutorClosedError, ExecutorSaturatedError, ItemTimeoutError, WorkerCrashedError
from ..executor import AsyncExecutor
from ._connection import GONE, cancelled_when_lost
from ._sse import HEADERS, MEDIA_TYPE, last_event_id, server_sent_events

__all__ = ("EXECUTOR", "cancel_on_disconnect", "error_middleware", "events_response", "setup")

EXECUTOR: web.AppKey[AsyncExecutor] = web.AppKey("amorsize_executor", AsyncExecutor)
"""Where `setup` puts the executor: `request.app[EXECUTOR]`."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def setup(app: web.Application, executor: AsyncExecutor, *, drain: float = 10.0) -> None:
    """Start `executor` with the application, close it with it, and turn its errors into answers.

    drain: seconds that calls and jobs get to end when the server stops; what is left then is stopped.
    """

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        async with executor:
            yield

    async def close(_: web.Application) -> None:
        await executor.aclose(drain)

    app[EXECUTOR] = executor
    app.cleanup_ctx.append(lifetime)
    app.on_shutdown.append(close)  # before the server waits for its handlers: they wait for the executor
    app.middlewares.append(error_middleware)


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer the library's errors: saturated or closed 503, an item's time limit 504, a worker's death 500.

    Answers name the item's index and never a value. Other errors are left to aiohttp.
    """
    try:
        return await handler(request)
    except ExecutorSaturatedError as exc:
        wait = {"Retry-After": str(math.ceil(exc.retry_after))}
        return _answer(503, f"busy: {exc.pending} calls are waiting or running; try again later", wait)
    except ExecutorClosedError:
        return _answer(503, "the service is closing")
    except ItemTimeoutError as exc:
        return _answer(504, f"item {exc.index} took longer than its limit of {exc.seconds} s")
    except WorkerCrashedError as exc:
        where = "a worker process died" if exc.index is None else f"item {exc.index} ended its worker process"
        return _answer(500, where)


@asynccontextmanager
async def cancel_on_disconnect(request: web.Request) -> AsyncIterator[None]:
    """Cancel the handler as soon as the client leaves, while this is entered; what it awaits in the executor stops.

    For single handlers; `web.run_app(app, handler_cancellation=True)` does the same for all. Read the body first: a
    connection with unread data in it is not seen to end.
    """
    if request.transport is None:
        raise asyncio.CancelledError(GONE)
    with cancelled_when_lost(request.transport):
        yield


async def events_response(job: Job[Any], request: web.Request) -> web.StreamResponse:
    """Answer with the events of `job` as they come, server-sent; a client that comes back goes on where it was."""
    response = web.StreamResponse(headers={**HEADERS, "Content-Type": MEDIA_TYPE})
    events = server_sent_events(job, last_event_id(request.headers.get("Last-Event-ID")))
    async with cancel_on_disconnect(request), aclosing(events):
        await response.prepare(request)
        async for event in events:
            await response.write(event)
    return response


def _answer(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"detail": detail}, status=status, headers=headers)
