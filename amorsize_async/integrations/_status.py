"""A read-only application that shows what an executor does, to be mounted in another; it opens no port by itself.

No values of items are in it, nor the names of functions, and of the ids of jobs only as much as tells them apart.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from .._job import Job
from ..executor import AsyncExecutor
from ._status_page import CONTENT_SECURITY_POLICY, PAGE

__all__ = ("status_app",)

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY"}
ID_LETTERS = 8
# Of 32: enough to tell jobs apart, too few to use where an id is the key to its job.


def status_app(executor: AsyncExecutor | None = None) -> Starlette:
    """An ASGI application: `/` is a page that follows what happens, `/statistics` is JSON, `/healthz` 200 or 503.

    executor: whose state it shows; None: that of the application it is mounted in, which has `lifespan(executor)`.
    """

    def of(request: Request) -> AsyncExecutor | None:
        found = executor if executor is not None else getattr(request.state, "executor", None)
        return found if isinstance(found, AsyncExecutor) and found.loop is not None else None

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE, headers={**HEADERS, "Content-Security-Policy": CONTENT_SECURITY_POLICY})

    async def statistics(request: Request) -> Response:
        shown = of(request)
        return JSONResponse({} if shown is None else statistics_of(shown), 503 if shown is None else 200, HEADERS)

    async def healthz(request: Request) -> Response:
        shown = of(request)
        healthy = shown is not None and not shown.statistics().closed
        return JSONResponse({"status": "ok" if healthy else "down"}, 200 if healthy else 503, HEADERS)

    return Starlette(routes=[Route("/", page), Route("/statistics", statistics), Route("/healthz", healthz)])


def statistics_of(executor: AsyncExecutor) -> dict[str, Any]:
    """An executor's numbers and those of its jobs, as plain data for JSON."""
    return {**asdict(executor.statistics()), "jobs": [_shown(job) for job in executor.jobs]}


def _shown(job: Job[Any]) -> dict[str, Any]:
    return {"id": job.id[:ID_LETTERS], "status": job.status, **asdict(job.progress)}
