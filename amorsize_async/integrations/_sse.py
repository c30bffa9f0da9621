"""The events of a job as server-sent events, for any web framework; no values of items and no texts of errors in them.

The format is that of the HTML standard, "Server-sent events": https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from .._job import Job, JobProgress
from ..errors import AmorsizeError
from ..events import HookContext

__all__ = ("HEADERS", "KEEP_ALIVE_SECONDS", "MEDIA_TYPE", "last_event_id", "server_sent_events", "to_sse")

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# The second is for nginx, which otherwise collects a response before it passes it on.

KEEP_ALIVE_SECONDS = 15.0
# Proxies close a connection on which nothing is said for 30 to 60 seconds; the HTML standard recommends about 15.

LONGEST_ID = 18
# Digits of a sequence number: no run tells as many events, and Python refuses to read thousands.

KEEP_ALIVE = b": keep-alive\n\n"


async def server_sent_events(
    job: Job[Any], after: int = -1, *, keep_alive: float = KEEP_ALIVE_SECONDS
) -> AsyncGenerator[bytes, None]:
    """The events of `job` later than `after`, as bytes to be sent, until POST_EXECUTE.

    keep_alive: seconds of silence after which a comment is sent, which clients ignore; more than 0. Raises ValueError.
    """
    if not keep_alive > 0:
        raise ValueError(f"keep_alive={keep_alive} is no time between two comments; pass seconds, 15 say")
    events = job.events(after)
    while True:
        try:
            async with asyncio.timeout(keep_alive):
                context = await anext(events)
        except TimeoutError:
            yield KEEP_ALIVE
        except StopAsyncIteration:
            return
        else:
            yield to_sse(context)


def to_sse(context: HookContext) -> bytes:
    """One event: its sequence as `id:`, its name as `event:`, its numbers as JSON."""
    data = json.dumps(_plain(context), separators=(",", ":"))
    return f"id: {context.sequence}\nevent: {context.event.value}\ndata: {data}\n\n".encode()


def last_event_id(header: str | None) -> int:
    """The sequence of the last event that a client has seen, from its `Last-Event-ID` header; -1 for none of ours."""
    ours = header is not None and header.isascii() and header.isdigit() and len(header) <= LONGEST_ID
    return int(header) if header is not None and ours else -1


def _plain(context: HookContext) -> dict[str, Any]:
    """What an event tells as plain data: numbers, and of an error its type and the index of its item only."""
    progress = JobProgress.of(context, failed=0, elapsed=context.elapsed_time)
    data: dict[str, Any] = {
        "status": context.status,
        "completed": progress.completed,
        "total": progress.total,
        "percent": round(progress.percent, 2),
        "elapsed": round(progress.elapsed, 3),
        "rate": round(progress.rate, 3),
        "remaining": None if progress.remaining is None else round(progress.remaining, 3),
        "workers": context.worker_count,
    }
    if context.error is not None:
        data["error"] = type(context.error).__name__
        ours = getattr(context.error, "index", None) if isinstance(context.error, AmorsizeError) else None
        data["item"] = context.metadata.get("item_index", ours)
    return data
