"""An aiohttp application as people write it: warm executor, requests that wait for work, and one that starts a job."""

from __future__ import annotations

import sys
from dataclasses import asdict

from aiohttp import web

import jobs
from amorsize_async import AsyncExecutor
from amorsize_async.integrations.aiohttp import EXECUTOR, cancel_on_disconnect, setup
from services.programs import beats

routes = web.RouteTableDef()


@routes.get("/health")
async def health(request):
    """Answer at once."""
    return web.json_response({})


@routes.get("/status/statistics")
async def statistics(request):
    """The executor at this moment."""
    return web.json_response(asdict(request.app[EXECUTOR].statistics()))


@routes.get("/work")
async def work(request):
    """Keep cores busy with so many items of so many seconds."""
    items, seconds = int(request.query["items"]), float(request.query["seconds"])
    async with cancel_on_disconnect(request):
        pids = await request.app[EXECUTOR].execute(jobs.spin, [seconds] * items)
    return web.json_response({"items": len(pids)})


@routes.get("/beat")
async def beat(request):
    """Write to a file as long as the work runs."""
    async with cancel_on_disconnect(request):
        return web.json_response(await request.app[EXECUTOR].execute(beats.beat, [_asked(request)]))


@routes.get("/start")
async def start(request):
    """Start the same as a job, and do not wait for it."""
    return web.json_response(request.app[EXECUTOR].start(beats.beat, [_asked(request)]).id)


def _asked(request):
    return request.query["path"], float(request.query["seconds"])


if __name__ == "__main__":
    app = web.Application()
    setup(app, AsyncExecutor(2, max_pending=512))
    app.add_routes(routes)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
