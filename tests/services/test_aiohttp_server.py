"""An aiohttp application, as a process: many clients at once, clients that go away, and signals."""

from __future__ import annotations

import asyncio
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.clients import Pulse, beat, lines_of, many, wait_for
from services.conftest import note
from services.servers import Server, free_port

# A semaphore between its making and its entry at the resource tracker: nobody who is left knows of it.
killed = pytest.mark.leaks_file


def aiohttp_server():
    """The application on a free port."""
    port = free_port()
    return Server("aiohttp_app", port, port=port)


def test_many_requests_at_once_leave_aiohttp_free():
    """200 of mixed sizes: no error, and its health is there within 50 ms while all cores are busy.

    In the best of three rounds: where other programs want the cores, too, the answers wait for their turn.
    """
    with aiohttp_server() as server:
        rounds = [health_beside_many(server)]
        while rounds[-1] >= 0.05 and len(rounds) < 3:
            rounds.append(health_beside_many(server))
    note(f"health beside 200 requests to aiohttp: p99 {', '.join(f'{p99 * 1e3:.1f} ms' for p99 in rounds)}")
    assert min(rounds) < 0.05


def health_beside_many(server):
    """Ask for much, and give the p99 of the seconds that its health took meanwhile."""
    with Pulse(server.port) as pulse:
        assert asyncio.run(many(server.url, 200)) == [(200, True)] * 200
        p99, asked = pulse.stop()
    assert asked > 50
    return p99


def gone_after(server, file):
    """Go away in the middle of a request, and give the seconds that its work went on."""
    with server.left_open(beat(file)):
        wait_for(lambda: lines_of(file))
    gone = time.time()
    wait_for(lambda: server.get("/statistics")["busy"] == 0)
    return lines_of(file)[-1] - gone


def test_the_work_of_a_client_that_leaves_aiohttp_stops(tmp_path):
    """Within 0.3 s, the grace of its items included; the best of three, for the sake of busy machines."""
    with aiohttp_server() as server:
        took = [gone_after(server, tmp_path / f"beats{turn}") for turn in range(3)]

        assert server.complained == ""
    note(f"work of a client that left aiohttp went on for {min(took):.3f} to {max(took):.3f} s")
    assert min(took) < 0.3
    assert max(took) < 2


def test_a_term_signal_lets_requests_and_jobs_of_aiohttp_end(tmp_path):
    """Then nothing is left, not a process, and nothing was complained about."""
    requested, started = tmp_path / "requested", tmp_path / "started"
    with aiohttp_server() as server, ThreadPoolExecutor(1) as threads:
        server.get(beat(started, 1.0, how="start"))
        answer = threads.submit(server.get, beat(requested, 1.0))
        wait_for(lambda: lines_of(requested) and lines_of(started))
        server.signal(signal.SIGTERM)

        assert answer.result() == [1.0]
        assert server.ended(20) < 15
        assert server.orphans(1)[0] == []
        assert server.complained == ""
    for file in (requested, started):
        assert lines_of(file)[-1] - lines_of(file)[0] > 0.9


@killed
def test_nothing_survives_aiohttp_when_it_is_killed(tmp_path):
    """Its workers end within a second, busy as they are."""
    file = tmp_path / "beats"
    with aiohttp_server() as server, server.left_open(beat(file)):
        wait_for(lambda: lines_of(file))
        server.signal(signal.SIGKILL)
        server.ended(5)

        assert server.orphans(1)[0] == []
