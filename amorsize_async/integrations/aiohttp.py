"""aiohttp: an executor that lives as long as the application, errors as answers, a job's events as a stream.

app = web.Application()
setup(app, AsyncExecutor(max_pending=64))  # in a handler: request.app[EXECUTOR]
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from aiohttp import web

from .._job import Job
from ..executor import AsyncExecutor
from ._answers import KINDS, answer_to
from ._connection import GONE, cancelled_when_lost
from ._sse import HEADERS, KEEP_ALIVE_SECONDS, MEDIA_TYPE, last_event_id, server_sent_events

__all__ = ("EXECUTOR", "cancel_on_disconnect", "error_middleware", "events_response", "setup")

EXECUTOR: web.AppKey[AsyncExecutor] = web.AppKey("amorsize_executor", AsyncExecutor)
"""Where `setup` puts the executor: `request.app[EXECUTOR]`."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def setup(app: web.Application, executor: AsyncExecutor, *, drain: float | None = 10.0) -> None:
    """Start `executor` with the application, close it with it, and turn its errors into answers.

    drain: seconds that calls and jobs get to end when the server stops, None for any time; what is left is stopped.
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
    """Answer 503 when the executor is full, with `Retry-After`, or closed, 504 for a late item, 500 for a deadly one.

    Answers name the item by its index, never by its value. Other errors are left to aiohttp.
    """
    try:
        return await handler(request)
    except KINDS as exc:
        answer = answer_to(exc)
        return web.json_response({"detail": answer.detail}, status=answer.status, headers=answer.headers)


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


async def events_response(
    job: Job[Any], request: web.Request, *, keep_alive: float = KEEP_ALIVE_SECONDS
) -> web.StreamResponse:
    """Answer with the events of `job` as server-sent events; a client that comes back goes on where it stopped.

    The last is `post_execute`: close the `EventSource` then. One that connects again gets 204, and stays away. Ends as
    soon as the client leaves. keep_alive: seconds of silence after which a comment is sent.
    """
    after = last_event_id(request.headers.get("Last-Event-ID"))
    if not job.has_events(after):
        return web.Response(status=204, headers=HEADERS)
    response = web.StreamResponse(headers={**HEADERS, "Content-Type": MEDIA_TYPE})
    async with cancel_on_disconnect(request), aclosing(server_sent_events(job, after, keep_alive=keep_alive)) as events:
        await response.prepare(request)
        async for event in events:
            await response.write(event)
    return response
