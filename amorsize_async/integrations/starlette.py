"""For Starlette and FastAPI: an application's executor, requests that stop their work, errors as answers, live events.

app = FastAPI(lifespan=lifespan(executor))
install_exception_handlers(app)
Executor = Annotated[AsyncExecutor, Depends(get_executor)]
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.status import HTTP_503_SERVICE_UNAVAILABLE, WS_1011_INTERNAL_ERROR, WS_1013_TRY_AGAIN_LATER
from starlette.websockets import WebSocket, WebSocketState

from .._job import Job
from ..executor import AsyncExecutor
from ._answers import KINDS, answer_to
from ._sse import HEADERS, KEEP_ALIVE_SECONDS, MEDIA_TYPE, last_event_id, server_sent_events
from ._status import status_app

__all__ = (
    "cancel_on_disconnect",
    "events_response",
    "get_executor",
    "install_exception_handlers",
    "lifespan",
    "status_app",
)

CLIENT_CLOSED_REQUEST = 499
# nginx's: nobody gets it, but the access log shows what became of the request.


def lifespan(
    executor: AsyncExecutor | Callable[[], AsyncExecutor],
) -> Callable[[Starlette], AbstractAsyncContextManager[dict[str, Any]]]:
    """A lifespan that starts the executor with the application, and closes it, drained, with it.

    executor: one that is not started, or what makes one, for an application that is started more than once, by tests
    for example. A lifespan of your own enters it: `async with lifespan(executor)(app) as state: yield {**state, ...}`.
    """

    @asynccontextmanager
    async def of_application(_: Starlette) -> AsyncGenerator[dict[str, Any], None]:
        async with executor if isinstance(executor, AsyncExecutor) else executor() as started:
            yield {"executor": started}

    return of_application


def get_executor(connection: HTTPConnection) -> AsyncExecutor:
    """The application's executor: a dependency for endpoints of HTTP and WebSockets; in Starlette, call it."""
    executor = getattr(connection.state, "executor", None)
    if not isinstance(executor, AsyncExecutor):
        raise TypeError(f"the state has executor={executor!r}; make the application with lifespan=lifespan(executor)")
    return executor


@asynccontextmanager
async def cancel_on_disconnect(request: Request) -> AsyncIterator[None]:
    """Cancel what is awaited inside when the client goes away; its status is then 499, which nobody gets.

    It listens to what the server sends, which middleware passes on; so the body must have been read before, as FastAPI
    does for an endpoint with parameters from it.
    """
    task, gone = asyncio.current_task(), False
    if task is None:
        raise RuntimeError("no task runs; use cancel_on_disconnect in an endpoint that is `async def`")

    async def listen() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    before = task.cancelling()
    listener = asyncio.create_task(listen(), name="amorsize-disconnect")
    try:
        yield
    except asyncio.CancelledError as exc:
        if gone and task.uncancel() <= before:
            raise HTTPException(CLIENT_CLOSED_REQUEST, "the client closed the request") from exc
        raise
    finally:
        listener.cancel()
        await asyncio.wait((listener,))


def install_exception_handlers(app: Starlette) -> None:
    """Answer 503 when the executor is full, with `Retry-After`, or closed, 504 for a late item, 500 for a deadly one.

    Answers name the item by its index, never by its value. A WebSocket is closed, with 1013 where it should be tried
    again, and else with 1011.
    """
    for kind in KINDS:
        app.add_exception_handler(kind, _answer)


async def _answer(connection: Any, exc: Exception) -> Any:
    """Answer a Request with a Response, a WebSocket by closing it: what Starlette calls for both."""
    answer = answer_to(exc)
    if isinstance(connection, WebSocket):
        if WebSocketState.DISCONNECTED in (connection.application_state, connection.client_state):
            return None  # it was closed before, by either side
        later = answer.status == HTTP_503_SERVICE_UNAVAILABLE
        await connection.close(WS_1013_TRY_AGAIN_LATER if later else WS_1011_INTERNAL_ERROR, answer.detail)
        return None
    return JSONResponse({"detail": answer.detail}, answer.status, answer.headers)


def events_response(job: Job[Any], request: Request, *, keep_alive: float = KEEP_ALIVE_SECONDS) -> Response:
    """The events of `job` as server-sent events, for `EventSource`; after a break they go on where they stopped.

    Each has its numbers as JSON: status, completed, total, percent, elapsed, rate, remaining, workers, and of an error
    its type and the index of its item. The last is `post_execute`: close the `EventSource` then. One that connects
    again after it gets 204, which tells it to stay away.
    """
    after = last_event_id(request.headers.get("last-event-id"))
    if not job.has_events(after):
        return Response(status_code=204, headers=HEADERS)
    return StreamingResponse(server_sent_events(job, after, keep_alive=keep_alive), 200, HEADERS, MEDIA_TYPE)
