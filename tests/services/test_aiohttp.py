"""The bridge to aiohttp, on servers in this process: errors, clients that leave, events, and the end of the server."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web

from amorsize_async import AsyncExecutor, HookEvent, HookManager
from amorsize_async.integrations.aiohttp import EXECUTOR, cancel_on_disconnect, events_response, setup
from jobs import die, divide, identity, nap
from services.clients import events_of

SECONDS = 10


class Watched:
    """Hooks that tell when a worker is on it, and how the run ended."""

    def __init__(self):
        self.hooks = HookManager()
        self.begun = asyncio.Event()
        self.ended = asyncio.get_running_loop().create_future()
        self.hooks.register(HookEvent.ON_WORKER_START, lambda _: self.begun.set(), mode="inline")
        self.hooks.register(HookEvent.POST_EXECUTE, lambda ctx: self.ended.set_result(ctx.status), mode="inline")


@asynccontextmanager
async def served(handler, executor, *, drain=10.0, handler_cancellation=False):
    """A server whose root is `handler`, and a client of it; gives the server, the client, and the address."""
    app = web.Application()
    setup(app, executor, drain=drain)
    app.router.add_route("*", "/", handler)
    runner = web.AppRunner(app, handler_cancellation=handler_cancellation, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with ClientSession() as client:
            yield runner, client, f"http://{host}:{port}/"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("work", "status", "words"),
    [
        (lambda executor: executor.execute(die, [1]), 500, "item 0 ended its worker"),
        (lambda executor: executor.execute(nap, [30], item_timeout=0.1), 504, "item 0 ran longer than 0.1 s"),
    ],
    ids=["a worker's death", "a time limit"],
)
async def test_the_librarys_errors_are_answers(work, status, words):
    """They name the item, and no value."""

    async def handler(request):
        return web.json_response(await work(request.app[EXECUTOR]))

    executor = AsyncExecutor(1, max_item_deaths=1)
    async with served(handler, executor) as (_, client, address), client.get(address) as answer:
        assert (answer.status, words in (await answer.json())["detail"]) == (status, True)


async def test_an_error_of_the_function_is_left_to_aiohttp():
    """It is the handler's own, and a bare 500."""

    async def handler(request):
        await request.app[EXECUTOR].execute(divide, [0])

    async with served(handler, AsyncExecutor(1)) as (_, client, address), client.get(address) as answer:
        assert answer.status == 500
        assert "ZeroDivisionError" not in await answer.text()


async def test_one_request_too_many_is_told_when_to_come_again():
    """At once, while the others go on."""
    watched = Watched()

    async def handler(request):
        return web.json_response(await request.app[EXECUTOR].execute(nap, [30], hooks=watched.hooks))

    async with served(handler, AsyncExecutor(1, max_pending=1), drain=0) as (runner, client, address):
        first = asyncio.ensure_future(client.get(address))
        await watched.begun.wait()
        async with client.get(address) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) >= 1
        await runner.cleanup()
        assert (await first).status == 503


@pytest.mark.parametrize("body", [None, b"some text"], ids=["get", "post"])
@pytest.mark.parametrize("handler_cancellation", [False, True], ids=["inside", "everywhere"])
async def test_a_client_that_leaves_stops_the_work(body, handler_cancellation):
    """Seen when the connection ends; with handler_cancellation too, which must not cancel twice."""
    watched, cancellations = Watched(), asyncio.get_running_loop().create_future()

    async def handler(request):
        await request.read()
        try:
            async with cancel_on_disconnect(request):
                await request.app[EXECUTOR].execute(nap, [30], hooks=watched.hooks)
        except asyncio.CancelledError:
            cancellations.set_result(asyncio.current_task().cancelling())
            raise

    async with served(handler, AsyncExecutor(1), handler_cancellation=handler_cancellation) as (_, client, address):
        request = asyncio.ensure_future(client.request("POST" if body else "GET", address, data=body))
        await watched.begun.wait()
        request.cancel()
        left = time.monotonic()
        assert await asyncio.wait_for(watched.ended, SECONDS) == "cancelled"
        assert time.monotonic() - left < 2
        assert await cancellations == 1


async def test_a_connection_goes_on_after_a_watched_request():
    """What was put in its way is taken out again."""

    async def handler(request):
        assert request.transport.get_protocol() is request.protocol
        async with cancel_on_disconnect(request):
            values = await request.app[EXECUTOR].execute(identity, list(await request.read()))
        return web.json_response([values, request.transport.get_extra_info("peername")])

    async with served(handler, AsyncExecutor(1)) as (_, client, address):
        answers = []
        for number in range(3):
            async with client.post(address, data=bytes([number])) as answer:
                answers.append(await answer.json())
    assert [values for values, _ in answers] == [[0], [1], [2]]
    assert len({tuple(peer) for _, peer in answers}) == 1


async def test_two_at_once_that_leave_as_they_came_leave_nothing_in_a_connections_way():
    """Request after request on the same connection; the lost connection then cancels all that are still there."""

    async def part(request, passes):
        async with cancel_on_disconnect(request):
            await passes.wait()

    async def handler(request):
        first, second = asyncio.Event(), asyncio.Event()
        parts = [asyncio.ensure_future(part(request, passes)) for passes in (first, second)]
        await asyncio.sleep(0)
        for passes, leaves in zip((first, second), parts, strict=True):
            passes.set()
            await leaves
        return web.json_response(request.transport.get_protocol() is request.protocol)

    async with served(handler, AsyncExecutor(1)) as (_, client, address):
        for _ in range(3):
            async with client.get(address) as answer:
                assert await answer.json()


async def test_a_lost_connection_cancels_each_task_that_asked_for_it_once():
    """However many there are, and however often each has asked."""
    cancelled, waiting = [], asyncio.Event()

    async def part(request, number):
        try:
            async with cancel_on_disconnect(request), cancel_on_disconnect(request):
                waiting.set()
                await asyncio.sleep(SECONDS)
        finally:
            cancelled.append((number, asyncio.current_task().cancelling()))

    async def handler(request):
        await asyncio.gather(*(part(request, number) for number in range(3)), return_exceptions=True)
        done.set_result(None)
        return web.Response()

    done = asyncio.get_running_loop().create_future()
    async with served(handler, AsyncExecutor(1)) as (_, client, address):
        request = asyncio.ensure_future(client.get(address))
        await waiting.wait()
        request.cancel()
        await asyncio.wait_for(done, SECONDS)

    assert sorted(cancelled) == [(0, 1), (1, 1), (2, 1)]


async def test_events_are_streamed_to_the_end_and_resumed():
    """A client that tells the last event it saw gets those after it, and no others."""
    jobs = []

    async def handler(request):
        if not jobs:
            jobs.append(request.app[EXECUTOR].start(divide, [2, 1, 0], return_exceptions=True))
        return await events_response(jobs[0], request)

    async with served(handler, AsyncExecutor(1)) as (_, client, address):
        async with client.get(address) as answer:
            assert answer.content_type == "text/event-stream"
            events = events_of(await answer.text())
        async with client.get(address, headers={"Last-Event-ID": str(events[-2][0])}) as answer:
            assert events_of(await answer.text()) == events[-1:]
        async with client.get(address, headers={"Last-Event-ID": str(events[-1][0])}) as answer:
            assert answer.status == 204
    assert [events[0][1], events[-1][1], events[-1][2]["status"]] == ["pre_execute", "post_execute", "ok"]
    assert [data["item"] for _, name, data in events if name == "on_error"] == [2]


async def test_a_server_that_ends_gives_calls_their_time_and_then_stops_them():
    """Nobody waits for aiohttp's own minute: handlers end since the executor does."""
    watched = Watched()

    async def handler(request):
        return web.json_response(await request.app[EXECUTOR].execute(nap, [30], hooks=watched.hooks))

    async with served(handler, AsyncExecutor(1), drain=0.2) as (runner, client, address):
        request = asyncio.ensure_future(client.get(address))
        await watched.begun.wait()
        before = time.monotonic()
        await runner.cleanup()
        assert 0.2 <= time.monotonic() - before < SECONDS
        async with await request as answer:
            assert (answer.status, await answer.json()) == (503, {"detail": "the service is closing"})
