"""Servers as processes of their own on a free port of this machine, watched with all that they start."""

from __future__ import annotations

import http.client
import json
import socket
import time
from pathlib import Path

from faults.outside import Program

PROGRAMS = Path(__file__).parent / "programs"
START_SECONDS = 30


def free_port():
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Server(Program):
    """A program that listens on `port`; entered, it answers."""

    def __init__(self, program, *arguments, port, ready="/health"):
        super().__init__(PROGRAMS / program if isinstance(program, str) else program, *arguments)
        self.port = port
        self._ready = ready

    @property
    def url(self):
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        try:
            self.wait_until_it_answers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait_until_it_answers(self):
        """Ask until there is an answer; nobody tells when a server listens."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                return self.get(self._ready)
            except OSError:
                time.sleep(0.02)
        raise TimeoutError(f"the server does not answer; it said\n{self.complained}")

    def get(self, path):
        """Get a path as JSON, or as text if it is none, with a new connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse().read().decode()
        finally:
            connection.close()
        try:
            return json.loads(answer)
        except ValueError:
            return answer

    def left_open(self, path):
        """Send a request and give the open connection: who closes it goes away without an answer."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        return connection


def uvicorn(app, *arguments, ready="/health"):
    """Start uvicorn with an application, `module:app`, and options of its command line."""
    port = free_port()
    return Server("uvicorn_main", app, "--port", port, "--log-level", "warning", *arguments, port=port, ready=ready)
