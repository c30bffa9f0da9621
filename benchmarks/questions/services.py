"""What a web service is like while it computes: mixed requests at once, errors, and how fast its health answers.

Each recipe is a whole ASGI application on uvicorn, a process of its own; `services:app` of this file is all of them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from amorsize_async import AsyncExecutor

from ..answers import Answer, Promise, Settings, Table

__all__ = ("app", "ask")

SIZES = (1, 5, 20, 100)
"""Items in a request, in turn; an item is a millisecond of CPU time."""
REQUESTS, QUICK_REQUESTS = 200, 40
POOL_REQUESTS = 20
"""Requests at once where each starts processes: 200 of them would be 400 processes."""
PULSE = 0.01
END = b"\r\n\r\nok"
"""Of every answer."""
START_SECONDS = 30.0
VISIT_SECONDS = 60.0
"""After which a service that has not answered all of its clients counts as stuck."""
RECIPE = "BENCHMARK_RECIPE"
OURS, ONE_POOL = "amorsize_async", "one pool, run_in_executor per item"


def burn(seconds: float) -> None:
    """Use a core for so many seconds of CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


# ── the service ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Service:
    """An ASGI application: `/health`, and `/work?items=` by the recipe that the environment names."""

    def __init__(self) -> None:
        self._executor: AsyncExecutor | None = None
        self._pool: ProcessPoolExecutor | None = None

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["path"] == "/work":
            items = int(parse_qs(scope["query_string"].decode())["items"][0])
            await RECIPES[os.environ[RECIPE]](self, items)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def _live(self, receive: Any, send: Any) -> None:
        """Start and close what the recipe needs, and nothing else: forked processes suffer from strangers' threads."""
        await receive()
        executor = AsyncExecutor(max_pending=2 * REQUESTS)
        if os.environ[RECIPE] == OURS:
            self._executor = await executor.start()
        elif os.environ[RECIPE] == ONE_POOL:
            self._pool = ProcessPoolExecutor(executor.statistics().n_jobs)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await executor.aclose()
        if self._pool is not None:
            self._pool.shutdown()
        await send({"type": "lifespan.shutdown.complete"})

    async def ours(self, items: int) -> None:
        """Our executor, shared by all requests."""
        if self._executor is not None:
            await self._executor.execute(burn, [0.001] * items)

    async def one_pool(self, items: int) -> None:
        """The better tutorials: a pool for the application, a call for each item."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*[loop.run_in_executor(self._pool, burn, 0.001) for _ in range(items)])

    async def pool_per_request(self, items: int) -> None:
        """The answer that most people find: a pool in the handler, closed by `with`."""
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(2) as pool:
            await asyncio.gather(*[loop.run_in_executor(pool, burn, 0.001) for _ in range(items)])

    async def in_the_handler(self, items: int) -> None:
        """What happens without thinking: a loop in an `async def` handler."""
        for _ in range(items):
            burn(0.001)


RECIPES: dict[str, Callable[[Service, int], Awaitable[None]]] = {
    OURS: Service.ours,
    ONE_POOL: Service.one_pool,
    "a pool per request": Service.pool_per_request,
    "the loop in the handler": Service.in_the_handler,
}
app = Service()


# ── its clients ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Visit:
    """What clients met. seconds: until all were answered. pulses: seconds that health answers took, in order.

    An answer that took long stands for all who would have asked meanwhile, too: without them, a service that is blocked
    for ten seconds would have one bad answer among a hundred good ones (Tene's coordinated omission).
    """

    requests: int
    errors: int
    seconds: float
    pulses: list[float]

    def pulse(self, share: float) -> float:
        """Milliseconds that this share of the health answers stayed within."""
        return 1e3 * self.pulses[int(share * (len(self.pulses) - 1))]


async def ask(settings: Settings) -> Answer:
    """Visit each recipe's service once per round; the best round of each counts."""
    requests = QUICK_REQUESTS if settings.quick else REQUESTS
    visits = {}
    for recipe in RECIPES:
        count = min(requests, POOL_REQUESTS) if recipe == "a pool per request" else requests
        rounds = [await _visited(recipe, count) for _ in range(min(settings.rounds, 2))]
        visits[recipe] = min(rounds, key=lambda visit: (visit.errors, visit.pulse(0.99)))
    columns = ("recipe", "requests", "errors", "seconds", "health p50", "p99", "worst (ms)")
    notes = [
        f"requests at once, {'/'.join(map(str, SIZES))} items of 1 ms in turn; health every {PULSE * 1e3:.0f} ms",
        "answers within the time that all requests took; best of the rounds",
    ]
    table = Table("A service while it computes", columns, [_row(*pair) for pair in visits.items()], notes)
    mine = visits[OURS]
    promises = [
        Promise("errors of a service on ours", mine.errors, 0),
        Promise("p99 of its health while all cores are busy, ms", mine.pulse(0.99), 50),
    ]
    numbers = [{"recipe": recipe, "seconds": visit.seconds, "pulses": visit.pulses} for recipe, visit in visits.items()]
    return Answer([table], promises, numbers)


def _row(recipe: str, visit: Visit) -> list[str]:
    pulses = [f"{visit.pulse(share):.1f}" for share in (0.5, 0.99, 1.0)]
    return [recipe, str(visit.requests), str(visit.errors), f"{visit.seconds:.2f}", *pulses]


async def _visited(recipe: str, requests: int) -> Visit:
    with _served(recipe) as port:
        await asyncio.to_thread(_wait_until_it_answers, port)
        done, pulses = threading.Event(), list[float]()
        pulse = asyncio.ensure_future(asyncio.to_thread(_pulse, port, done, pulses))
        began = time.perf_counter()
        calls = [asyncio.ensure_future(_get(port, SIZES[number % len(SIZES)])) for number in range(requests)]
        answered, stuck = await asyncio.wait(calls, timeout=VISIT_SECONDS)
        seconds = time.perf_counter() - began
        for call in stuck:
            call.cancel()
        done.set()
        await pulse
    asked = [late for took in pulses for late in (took, *_waits_behind(took))]
    return Visit(requests, requests - sum(call.result() for call in answered), seconds, sorted(asked))


def _waits_behind(took: float) -> list[float]:
    """What those would have waited who would have asked, each so much later, while one answer took so long."""
    return [took - PULSE * number for number in range(1, int(took / PULSE) + 1)]


@contextmanager
def _served(recipe: str) -> Iterator[int]:
    """Uvicorn with a recipe, as a process; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", f"{__name__}:app", "--port", str(port), "--log-level", "critical"]
    process = subprocess.Popen(command, env={**os.environ, RECIPE: recipe}, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_answers(port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if connection.recv(1024):
                return
        time.sleep(0.02)
    raise TimeoutError(f"the service on port {port} does not answer; is uvicorn installed? pip install uvicorn")


def _pulse(port: int, done: threading.Event, pulses: list[float]) -> None:
    """Ask for the health until all is done, one question after the other; no answer counts as one that took longest."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=VISIT_SECONDS) as connection:
        while not done.wait(PULSE):
            began = time.perf_counter()
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(END):
                received = connection.recv(1024)
                if not received:
                    raise ConnectionError("the service hung up")
                answer += received
            pulses.append(time.perf_counter() - began)
        return
    pulses.append(VISIT_SECONDS)


async def _get(port: int, items: int) -> bool:
    """Send one request; whether it was answered well."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /work?items={items} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        # Not until its end: forked workers hold the connections of those who were being served, and it never comes.
        answer = await reader.readuntil(END)
        writer.close()
        await writer.wait_closed()
    except (OSError, asyncio.IncompleteReadError):
        return False
    return answer.startswith(b"HTTP/1.1 200")
