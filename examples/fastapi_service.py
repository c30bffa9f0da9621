"""A service that sums up the documents of a zip archive: jobs that are watched live and cancelled, beside a free loop.

    pip install ".[fastapi]" && python examples/fastapi_service.py

Then open http://127.0.0.1:8000, or send an archive: `curl --data-binary @documents.zip http://127.0.0.1:8000/jobs`.
Jobs live in this process: run one server process, the workers use all cores.
"""

from __future__ import annotations

import asyncio
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response

from amorsize_async import AsyncExecutor, HookContext, HookEvent, HookManager, Job
from amorsize_async.integrations.starlette import (
    cancel_on_disconnect,
    events_response,
    get_executor,
    install_exception_handlers,
    lifespan,
    status_app,
)
from documents import documents_of, summarise, unpacked_size

MAX_UPLOAD = 50 << 20
MAX_UNPACKED = 500 << 20
"""Bytes of an archive, and of what is in it: a small archive can hold a large nothing."""
MAX_PENDING = 16
"""Jobs at once. One more is answered with 503, and when to come again."""
MAX_REMEMBERED = 100
"""Jobs that can be asked for; the oldest that have ended are forgotten."""

Executor = Annotated[AsyncExecutor, Depends(get_executor)]


def make_executor() -> AsyncExecutor:
    """The executor of one life of the application."""
    return AsyncExecutor(max_pending=MAX_PENDING)


@asynccontextmanager
async def of_application(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """A folder for archives and the jobs by their ids, around the executor: it ends first, and then they go."""
    with tempfile.TemporaryDirectory(prefix="documents-") as folder:
        async with lifespan(make_executor)(app) as state:
            yield {**state, "folder": Path(folder), "jobs": {}}


app = FastAPI(lifespan=of_application)
install_exception_handlers(app)
app.mount("/status", status_app())


def job_of(request: Request, job_id: str) -> Job[Any]:
    """The job of a path; 404 if there is none."""
    job: Job[Any] | None = request.state.jobs.get(job_id)
    if job is None:
        raise HTTPException(404, f"there is no job {job_id!r}, or it was forgotten")
    return job


Found = Annotated[Job[Any], Depends(job_of)]


@app.get("/")
async def page() -> FileResponse:
    """A page that uploads, follows and cancels."""
    return FileResponse(Path(__file__).with_name("service_page.html"))


@app.post("/jobs", status_code=202)
async def create(request: Request, response: Response, executor: Executor) -> dict[str, Any]:
    """Take a zip archive as the body, and start to sum its documents up."""
    archive = await received(request)
    with removed_on_failure(archive):
        found = await checked(archive)
        job = executor.start(summarise, found, hooks=removing(archive), return_exceptions=True)
    remember(request.state.jobs, job)
    response.headers["Location"] = f"/jobs/{job.id}"
    return snapshot(job)


@app.get("/jobs/{job_id}")
async def read(job: Found) -> dict[str, Any]:
    """How far a job is."""
    return snapshot(job)


@app.get("/jobs/{job_id}/events")
async def events(job: Found, request: Request) -> Response:
    """The same, live: server-sent events."""
    return events_response(job, request)


@app.get("/jobs/{job_id}/results")
async def results(job: Found, request: Request) -> list[dict[str, Any]]:
    """Wait for the results of a job; of a document that could not be read, the kind of its error."""
    if job.status in {"error", "cancelled"}:
        raise HTTPException(409, f"the job has no results, its status is {job.status}")
    async with cancel_on_disconnect(request):
        return [value if isinstance(value, dict) else {"error": type(value).__name__} for value in await job]


@app.delete("/jobs/{job_id}")
async def delete(job: Found) -> dict[str, Any]:
    """Cancel a job; 409 if there is nothing left to cancel."""
    if not job.cancel():
        raise HTTPException(409, f"the job cannot be cancelled, its status is {job.status}")
    await job.wait()
    return snapshot(job)


@app.get("/metrics")
async def metrics(executor: Executor) -> PlainTextResponse:
    """Numbers for Prometheus."""
    numbers = executor.statistics()
    names = {"workers": len(numbers.workers), "busy": numbers.busy, "pending": numbers.pending, "lost": numbers.lost}
    lines = [f"# TYPE documents_{name} gauge\ndocuments_{name} {value}" for name, value in names.items()]
    return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


# ── an archive ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def received(request: Request) -> Path:
    """Write the body to a file as it comes; 413 if it is too large."""
    if int(request.headers.get("content-length", 0)) > MAX_UPLOAD:
        raise HTTPException(413, f"the archive is larger than {MAX_UPLOAD:,} bytes")
    with tempfile.NamedTemporaryFile(dir=request.state.folder, suffix=".zip", delete=False) as file:
        path = Path(file.name)
        with removed_on_failure(path):
            async for piece in request.stream():
                file.write(piece)
                if file.tell() > MAX_UPLOAD:
                    raise HTTPException(413, f"the archive is larger than {MAX_UPLOAD:,} bytes")
    return path


async def checked(archive: Path) -> list[tuple[str, str]]:
    """The documents of an archive; 400 if it is none, 413 if it unpacks to too much."""
    try:
        if await asyncio.to_thread(unpacked_size, str(archive)) > MAX_UNPACKED:
            raise HTTPException(413, f"the documents are larger than {MAX_UNPACKED:,} bytes")
        return await asyncio.to_thread(documents_of, str(archive))
    except zipfile.BadZipFile as exc:
        raise HTTPException(400, "the body is not a zip archive; send one with curl --data-binary @file.zip") from exc


@contextmanager
def removed_on_failure(archive: Path) -> Iterator[None]:
    """Remove the archive if its job does not come to be, also when the client goes away."""
    try:
        yield
    except BaseException:
        archive.unlink()
        raise


def removing(archive: Path) -> HookManager:
    """Hooks that remove the archive when its job has ended, however."""
    hooks = HookManager()

    @hooks.on(HookEvent.POST_EXECUTE)
    def remove(_: HookContext) -> None:
        archive.unlink()

    return hooks


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def remember(jobs: dict[str, Job[Any]], job: Job[Any]) -> None:
    """Keep a job, and forget the oldest that have ended."""
    jobs[job.id] = job
    ended = [old.id for old in jobs.values() if old.status not in {"pending", "running"}]
    for job_id in ended[: max(0, len(jobs) - MAX_REMEMBERED)]:
        del jobs[job_id]


def snapshot(job: Job[Any]) -> dict[str, Any]:
    """A job for JSON; of an error its type only, since its text may hold anything."""
    error = None if job.error is None else type(job.error).__name__
    return {"id": job.id, "status": job.status, **asdict(job.progress), "error": error}


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=8000, timeout_graceful_shutdown=10)
