"""An application as people write it: warm executor, requests that wait for work, and one that starts a job."""

from __future__ import annotations

import os
from typing import Annotated

from fastapi import Depends, FastAPI, Request

import jobs
from amorsize_async import AsyncExecutor
from amorsize_async.integrations.starlette import (
    cancel_on_disconnect,
    get_executor,
    install_exception_handlers,
    lifespan,
    status_app,
)
from services.programs import beats

Executor = Annotated[AsyncExecutor, Depends(get_executor)]

app = FastAPI(lifespan=lifespan(lambda: AsyncExecutor(max_pending=512)))
install_exception_handlers(app)
app.mount("/status", status_app())

if "HTTP_MIDDLEWARE" in os.environ:

    @app.middleware("http")
    async def passes_on(request: Request, call_next):
        """Do nothing, as middleware does that keeps `is_disconnected()` from ever being true."""
        return await call_next(request)


@app.get("/health")
async def health():
    """Answer at once."""
    return {"pid": os.getpid()}


@app.get("/work")
async def work(items: int, seconds: float, request: Request, executor: Executor):
    """Keep cores busy with so many items of so many seconds."""
    async with cancel_on_disconnect(request):
        pids = await executor.execute(jobs.spin, [seconds] * items)
    return {"items": len(pids)}


@app.get("/beat")
async def beat(path: str, seconds: float, request: Request, executor: Executor):
    """Write to a file as long as the work runs."""
    async with cancel_on_disconnect(request):
        return await executor.execute(beats.beat, [(path, seconds)])


@app.get("/start")
async def start(path: str, seconds: float, executor: Executor):
    """Start the same as a job, and do not wait for it."""
    return executor.start(beats.beat, [(path, seconds)]).id
