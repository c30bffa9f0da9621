"""What the Starlette integration answers, application and workers in one test."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import jobs
from amorsize_async import AsyncExecutor
from amorsize_async.errors import ExecutorClosedError
from amorsize_async.integrations._sse import server_sent_events
from amorsize_async.integrations.starlette import (
    events_response,
    get_executor,
    install_exception_handlers,
    lifespan,
    status_app,
)
from services.clients import events_of

SECRET = "canary-7f3a"


async def closed(executor):
    """Use an executor that was closed."""
    await executor.aclose()
    await executor.submit(jobs.square, 3)


@contextmanager
def client_of(endpoint, executor=None):
    """A client of an application with one route, `/`, and the status under `/status`."""
    app = Starlette(
        routes=[Route("/", endpoint), Mount("/status", status_app())],
        lifespan=lifespan(lambda: executor or AsyncExecutor(1)),
    )
    install_exception_handlers(app)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_an_endpoint_finds_the_executor_of_the_application():
    """It is started with the application; one function serves HTTP and WebSockets."""

    async def over_a_socket(websocket):
        await websocket.accept()
        await websocket.send_json(await get_executor(websocket).submit(jobs.square, 4))
        await websocket.close()

    async def endpoint(request):
        return JSONResponse(await get_executor(request).submit(jobs.square, 3))

    with client_of(endpoint) as client:
        client.app.routes.append(WebSocketRoute("/socket", over_a_socket))
        assert client.get("/").json() == 9
        with client.websocket_connect("/socket") as socket:
            assert socket.receive_json() == 16


def test_an_application_without_the_lifespan_is_told_so():
    """With the way out."""
    app = Starlette(routes=[Route("/", get_executor)])

    with TestClient(app) as client, pytest.raises(TypeError, match=r"lifespan=lifespan\(executor\)"):
        client.get("/")


def test_an_application_can_be_started_again():
    """With what makes an executor; an executor itself has one life."""

    async def endpoint(request):
        return JSONResponse(await get_executor(request).submit(jobs.square, 3))

    app = Starlette(routes=[Route("/", endpoint)], lifespan=lifespan(lambda: AsyncExecutor(1)))
    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/").json() == 9
    app = Starlette(lifespan=lifespan(AsyncExecutor(1)))
    with TestClient(app):
        pass
    with pytest.raises(ExecutorClosedError), TestClient(app):
        pass


@pytest.mark.parametrize(
    ("work", "status", "says"),
    [
        (lambda executor: executor.execute(jobs.die, [SECRET]), 500, "item 0 ended its worker"),
        (lambda executor: executor.execute(jobs.nap, [60], item_timeout=0.2), 504, "item 0 ran longer than 0.2 s"),
    ],
    ids=["crash", "timeout"],
)
def test_an_item_that_goes_wrong_is_named_by_its_index(work, status, says):
    """Not by its value."""

    async def endpoint(request):
        return JSONResponse(await work(get_executor(request)))

    with client_of(endpoint, AsyncExecutor(1, max_item_deaths=1)) as client:
        answer = client.get("/")

    assert (answer.status_code, answer.json()) == (status, {"detail": says})


def test_a_full_executor_answers_503_and_when_to_come_again():
    """In whole seconds, as the header wants it."""

    async def endpoint(request):
        executor = get_executor(request)
        job = executor.start(jobs.nap, [60])
        try:
            return JSONResponse(await executor.submit(jobs.square, 3))
        finally:
            job.cancel()

    with client_of(endpoint, AsyncExecutor(1, max_pending=1)) as client:
        answer = client.get("/")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("work", "code"),
    [(lambda executor: executor.execute(jobs.die, [SECRET]), 1011), (closed, 1013)],
    ids=["crash", "closed"],
)
def test_a_websocket_is_closed_with_a_reason(work, code):
    """An answer of HTTP would be a second error on top of the first."""

    async def over_a_socket(websocket):
        await websocket.accept()
        await work(get_executor(websocket))

    with client_of(over_a_socket, AsyncExecutor(1, max_item_deaths=1)) as client:
        client.app.routes.append(WebSocketRoute("/socket", over_a_socket))
        with client.websocket_connect("/socket") as socket, pytest.raises(WebSocketDisconnect) as end:
            socket.receive_json()

    assert end.value.code == code
    assert SECRET not in end.value.reason


def test_a_websocket_that_was_closed_before_is_left_alone():
    """By the endpoint itself, on its way out."""

    async def over_a_socket(websocket):
        await websocket.accept()
        try:
            await closed(get_executor(websocket))
        finally:
            await websocket.close(4000)

    with client_of(over_a_socket) as client:
        client.app.routes.append(WebSocketRoute("/socket", over_a_socket))
        with client.websocket_connect("/socket") as socket, pytest.raises(WebSocketDisconnect) as end:
            socket.receive_json()

    assert end.value.code == 4000


def test_events_tell_nothing_that_an_exception_holds():
    """Not even where the user's exception has an attribute of the same name as one of ours."""

    async def endpoint(request):
        return events_response(get_executor(request).start(jobs.raise_with_index, [SECRET]), request)

    with client_of(endpoint) as client:
        told = client.get("/", headers={"Last-Event-ID": "9" * 5000})

    assert SECRET not in told.text
    *_, (_, name, data) = events_of(told.text)
    assert (name, data["error"], data["item"]) == ("post_execute", "LookupError", None)


def test_events_are_told_and_told_again_from_where_a_client_stopped():
    """Numbers only: no value of an item, and no text of an error, which may hold one."""
    started = []

    async def endpoint(request):
        if not started:
            started.append(
                get_executor(request).start(jobs.raise_value_error, [SECRET], return_exceptions=True),
            )
        return events_response(started[0], request)

    with client_of(endpoint) as client:
        first = client.get("/")
        events = events_of(first.text)
        again = client.get("/", headers={"Last-Event-ID": str(events[1][0])})
        ended = client.get("/", headers={"Last-Event-ID": str(events[-1][0])})

    assert first.headers["content-type"].startswith("text/event-stream")
    assert (events[0][1], events[-1][1]) == ("pre_execute", "post_execute")
    assert [data["error"] for _, name, data in events if name == "on_error"] == ["ValueError"]
    assert (events[-1][2]["status"], events[-1][2]["percent"]) == ("ok", 100.0)
    assert events_of(again.text) == events_of(first.text)[2:]
    assert ended.status_code == 204
    assert SECRET not in first.text


def test_a_silent_job_is_kept_alive():
    """With comments, which clients ignore."""

    async def endpoint(request):
        return events_response(get_executor(request).start(jobs.nap, [0.5]), request, keep_alive=0.1)

    with client_of(endpoint) as client:
        assert ": keep-alive\n\n" in client.get("/").text


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_comments_without_a_pause_between_them_are_refused(seconds):
    """They would be all that is sent."""
    async with AsyncExecutor(1) as executor:
        job = executor.start(jobs.square, [3])
        with pytest.raises(ValueError, match="is no time between two comments; pass seconds"):
            await anext(server_sent_events(job, keep_alive=seconds))
        assert await job == [9]


def test_the_status_tells_workers_and_jobs():
    """Read only, never stored, and nothing from elsewhere."""

    async def endpoint(request):
        job = get_executor(request).start(jobs.nap, [60])
        return JSONResponse(job.id)

    with client_of(endpoint) as client:
        job_id = client.get("/").json()
        numbers = client.get("/status/statistics").json()
        page = client.get("/status/")
        health = client.get("/status/healthz")
        refused = client.post("/status/statistics")
        executor = client.app_state["executor"]
        client.portal.call(executor.jobs[0].cancel)
        client.portal.call(executor.aclose)
        assert client.get("/status/healthz").status_code == 503

    assert [job["id"] for job in numbers["jobs"]] == [job_id[:8]]
    assert len(numbers["workers"]) == 1
    assert (health.status_code, refused.status_code) == (200, 405)
    assert page.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "//" not in page.text


def test_the_status_of_an_executor_that_is_not_started_is_down():
    """And says no more."""
    with TestClient(status_app(AsyncExecutor(1))) as client:
        assert client.get("/healthz").status_code == 503
        assert client.get("/statistics").json() == {}
