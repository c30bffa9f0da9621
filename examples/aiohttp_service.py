"""A service that sums up the documents of a zip archive: jobs that are watched live and cancelled, beside a free loop.

    pip install ".[aiohttp]" && python examples/aiohttp_service.py

Then open http://127.0.0.1:8080, or send an archive: `curl --data-binary @documents.zip http://127.0.0.1:8080/jobs`.
Jobs live in this process: run one server process, the workers use all cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web

from amorsize_async import AsyncExecutor, HookContext, HookEvent, HookManager, Job
from amorsize_async.integrations.aiohttp import EXECUTOR, cancel_on_disconnect, events_response, setup
from documents import Document, documents_of, summarise, unpacked_size

MAX_UPLOAD = 50 << 20
MAX_UNPACKED = 500 << 20
"""Bytes of an archive, and of what is in it: a small archive can hold a large nothing."""
MAX_PENDING = 16
"""Jobs at once. One more is answered with 503, and when to come again."""
MAX_REMEMBERED = 100
"""Jobs that can be asked for; the oldest that have ended are forgotten."""

FOLDER = web.AppKey("folder", Path)
JOBS = web.AppKey("jobs", dict[str, Job[Any]])
routes = web.RouteTableDef()


@routes.get("/")
async def page(_: web.Request) -> web.FileResponse:
    """A page that uploads, follows and cancels."""
    return web.FileResponse(Path(__file__).with_name("service_page.html"))


@routes.get("/health")
async def health(_: web.Request) -> web.Response:
    """Answer that the loop is free."""
    return web.json_response({"status": "ok"})


@routes.post("/jobs")
async def create(request: web.Request) -> web.Response:
    """Take a zip archive as the body, and start to sum its documents up."""
    archive = await received(request)
    with removed_on_failure(archive):
        found = await checked(archive)
        job = request.app[EXECUTOR].start(summarise, found, hooks=removing(archive), return_exceptions=True)
    remember(request.app[JOBS], job)
    return web.json_response(snapshot(job), status=202, headers={"Location": f"/jobs/{job.id}"})


@routes.get("/jobs/{id}")
async def read(request: web.Request) -> web.Response:
    """How far a job is."""
    return web.json_response(snapshot(job_of(request)))


@routes.get("/jobs/{id}/events")
async def events(request: web.Request) -> web.StreamResponse:
    """The same, live: server-sent events."""
    return await events_response(job_of(request), request)


@routes.get("/jobs/{id}/results")
async def results(request: web.Request) -> web.Response:
    """Wait for the results of a job; of a document that could not be read, the kind of its error."""
    job = job_of(request)
    if job.status in {"error", "cancelled"}:
        raise refused(web.HTTPConflict, f"the job has no results, its status is {job.status}")
    async with cancel_on_disconnect(request):  # ends the waiting, not the job
        values = [value if isinstance(value, dict) else {"error": type(value).__name__} for value in await job]
    return web.json_response(values)


@routes.delete("/jobs/{id}")
async def delete(request: web.Request) -> web.Response:
    """Cancel a job; 409 if there is nothing left to cancel."""
    job = job_of(request)
    if not job.cancel():
        raise refused(web.HTTPConflict, f"the job cannot be cancelled, its status is {job.status}")
    await job.wait()
    return web.json_response(snapshot(job))


@routes.post("/summaries")
async def summaries(request: web.Request) -> web.Response:
    """The same in one request: answer with the results, and stop the work if the client leaves."""
    archive = await received(request)
    try:
        found = await checked(archive)
        async with cancel_on_disconnect(request):
            return web.json_response(await request.app[EXECUTOR].execute(summarise, found))
    finally:
        archive.unlink()


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """Numbers for Prometheus."""
    numbers = request.app[EXECUTOR].statistics()
    names = {"workers": len(numbers.workers), "busy": numbers.busy, "pending": numbers.pending, "lost": numbers.lost}
    lines = [f"# TYPE documents_{name} gauge\ndocuments_{name} {value}" for name, value in names.items()]
    return web.Response(text="\n".join(lines) + "\n", headers={"Content-Type": "text/plain; version=0.0.4"})


# ── an archive ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def received(request: web.Request) -> Path:
    """Write the body to a file as it comes; 413 if it is too large."""
    too_large = f"the archive is larger than {MAX_UPLOAD:,} bytes"
    if (request.content_length or 0) > MAX_UPLOAD:
        raise refused(web.HTTPRequestEntityTooLarge, too_large)
    with tempfile.NamedTemporaryFile(dir=request.app[FOLDER], suffix=".zip", delete=False) as file:
        path = Path(file.name)
        with removed_on_failure(path):
            async for piece in request.content.iter_chunked(1 << 16):
                file.write(piece)
                if file.tell() > MAX_UPLOAD:
                    raise refused(web.HTTPRequestEntityTooLarge, too_large)
    return path


async def checked(archive: Path) -> list[Document]:
    """The documents of an archive; 400 if it is none, 413 if it unpacks to too much."""
    try:
        if await asyncio.to_thread(unpacked_size, str(archive)) > MAX_UNPACKED:
            too_large = f"the documents are larger than {MAX_UNPACKED:,} bytes"
            raise refused(web.HTTPRequestEntityTooLarge, too_large)
        return await asyncio.to_thread(documents_of, str(archive))
    except zipfile.BadZipFile as exc:
        advice = "the body is not a zip archive; send one with curl --data-binary @file.zip"
        raise refused(web.HTTPBadRequest, advice) from exc


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


def job_of(request: web.Request) -> Job[Any]:
    """The job of a path; 404 if there is none."""
    job = request.app[JOBS].get(request.match_info["id"])
    if job is None:
        raise refused(web.HTTPNotFound, f"there is no job {request.match_info['id']!r}, or it was forgotten")
    return job


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


def refused(kind: type[web.HTTPException], detail: str) -> web.HTTPException:
    """An answer that refuses, with its reason as JSON."""
    text = json.dumps({"detail": detail})
    if kind is web.HTTPRequestEntityTooLarge:
        return web.HTTPRequestEntityTooLarge(MAX_UPLOAD, text=text, content_type="application/json")
    return kind(text=text, content_type="application/json")


# ── the application ──────────────────────────────────────────────────────────────────────────────────────────────────


async def folder(app: web.Application) -> AsyncIterator[None]:
    """Keep archives in a folder, which goes last."""
    with tempfile.TemporaryDirectory(prefix="documents-") as path:
        app[FOLDER] = Path(path)
        yield


def application() -> web.Application:
    """Put the service together; the folder is made before the executor starts, and removed after it has ended."""
    app = web.Application()
    app[JOBS] = {}
    app.cleanup_ctx.append(folder)
    setup(app, AsyncExecutor(max_pending=MAX_PENDING))
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
