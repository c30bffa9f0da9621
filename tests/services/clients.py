"""Clients of a server in another process: many at once, one that asks for its health, one that goes away."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import time
from pathlib import Path
from urllib.parse import urlencode

import aiohttp

from faults.outside import Program
from services.servers import PROGRAMS

SIZES = [1, 5, 10, 24]
"""Items of 1 ms in a request."""


def lines_of(path: Path):
    """Times at which work was done."""
    return [float(line) for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition, seconds=10):
    """Wait until something in another process is so; gives what is."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError("it did not come to be")
        time.sleep(0.005)
    return found


def asked(port, method, path, body=None, **headers):
    """Ask a server of this machine; give the status, the headers, and the JSON or the text of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers, encode_chunked="Transfer-Encoding" in headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    is_json = "json" in answer.headers.get("Content-Type", "")
    return answer.status, answer.headers, json.loads(text) if is_json else text


def beat(path, seconds=60.0, *, how="beat"):
    """The path of a request whose work writes to a file."""
    return f"/{how}?{urlencode({'path': path, 'seconds': seconds})}"


async def many(url, count):
    """So many requests at once, of mixed sizes; their status and whether they gave what was asked for."""
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as client:

        async def one(number):
            size = SIZES[number % len(SIZES)]
            async with client.get("/work", params={"items": size, "seconds": 0.001}) as answer:
                return answer.status, await answer.json() == {"items": size}

        return await asyncio.gather(*map(one, range(count)))


def events_of(text):
    """The events of a stream of server-sent ones: (id, name, data)."""
    fields = [dict(line.split(": ", 1) for line in event.splitlines()) for event in text.strip().split("\n\n")]
    return [(int(event["id"]), event["event"], json.loads(event["data"])) for event in fields]


class Pulse:
    """Asks a server for its health, again and again, in a process of its own; gives the seconds that answers took."""

    def __init__(self, port):
        self._program = Program(PROGRAMS / "pulse", port)

    def __enter__(self):
        self._program.__enter__()
        return self

    def __exit__(self, *exc):
        self._program.__exit__(*exc)

    def begins(self):
        """Wait for its first answer: on a busy machine a process takes its time to start."""
        wait_for(lambda: self._program.printed)

    def stop(self):
        """End, and give the p99 and how many there were to be asked, one every 10 ms, however late the answers."""
        self._program.signal(signal.SIGTERM)
        self._program.ended(10)
        times = [*map(float, self._program.printed.split()[1:])]
        # An answer that took long stands for those who would have asked meanwhile, too.
        waits = sorted(took - 0.01 * late for took in times for late in range(int(took / 0.01) + 1))
        return waits[int(0.99 * (len(waits) - 1))], len(waits)
