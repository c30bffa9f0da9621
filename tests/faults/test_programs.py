"""Programs that are killed, interrupted or shut down: their workers go with them, at once and quietly."""

from __future__ import annotations

import importlib.util
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from faults import figures
from faults.bells import Bell
from faults.conftest import START_METHODS
from faults.outside import Program

ORPHAN_SECONDS = 1.0
LOADS = ("idle", "sleeping", "busy", "held")
WAYS_TO_GO = (signal.SIGKILL, signal.SIGTERM)

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is asked for on Linux only"),
    # A semaphore between its making and its entry at the resource tracker: nobody who is left knows of it.
    pytest.mark.leaks_file,
]


# ── the parent dies ──────────────────────────────────────────────────────────────────────────────────────────────────


def orphans_of(case, folder):
    """Kill one parent with two workers, and tell who is left after a second, and when there was nobody."""
    start, load, how = case
    with Bell(folder / f"{start}-{load}-{how.name}") as bell, Program("parent", start, load, bell.path) as program:
        bell.wait()
        bell.wait()
        workers = len(program.alive()) - 1
        program.signal(how)
        program.ended(10)
        assert workers >= 2
        return program.orphans(ORPHAN_SECONDS)


@pytest.fixture(scope="module")
def fates(tmp_path_factory):
    """Every case, three at a time: what takes long is the start of programs."""
    folder = tmp_path_factory.mktemp("fates")
    cases = [(start, load, how) for start in START_METHODS for load in LOADS for how in WAYS_TO_GO]
    with ThreadPoolExecutor(3) as threads:
        return dict(zip(cases, threads.map(lambda case: orphans_of(case, folder), cases), strict=True))


@pytest.mark.parametrize("how", WAYS_TO_GO, ids=lambda how: how.name)
@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("start", START_METHODS)
def test_F8_nobody_outlives_the_parent(fates, start, load, how):  # noqa: N802 - scenarios are numbered
    """However it went, whatever the workers were at; the fork server and the resource tracker go, too."""
    with figures.scored(f"parents gone by {how.name} that left no process after 1 s"):
        left, _ = fates[start, load, how]

        assert left == []


def test_F8_they_go_quickly(fates):  # noqa: N802
    """Of all cases, until the last process was gone."""
    figures.times("from the parent's death to the last process's", [seconds for _, seconds in fates.values()], 1.0)


MOMENTS = [0.015 * step for step in range(10)]
"""Seconds after the parent has begun to start its workers; they need about a tenth of one."""


def orphans_of_a_start(case, folder):
    """Kill a parent that is starting its workers; tell who is left after a second."""
    start, moment = case
    with Bell(folder / f"{start}-{moment}") as bell, Program("parent", start, "starting", bell.path) as program:
        bell.wait()
        program.ends_within(moment)
        program.signal(signal.SIGKILL)
        program.ended(10)
        return program.orphans(ORPHAN_SECONDS)[0]


@pytest.mark.parametrize("start", START_METHODS)
def test_F8_nobody_outlives_a_parent_that_dies_while_they_start(start, tmp_path):  # noqa: N802
    """A sweep over the start: before the workers are there, while they import, when they have just begun."""
    with ThreadPoolExecutor(3) as threads:
        left = list(threads.map(lambda moment: orphans_of_a_start((start, moment), tmp_path), MOMENTS))

    figures.number(f"orphans of {len(MOMENTS)} parents killed while workers start, {start}", sum(map(len, left)))


# ── a server is stopped ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(importlib.util.find_spec("uvicorn") is None, reason="uvicorn is not installed")
@pytest.mark.parametrize("path", ["/quick", "/slow"], ids=["idle", "busy"])
def test_F4_a_server_that_is_stopped_leaves_nobody(bell, path):  # noqa: N802
    """Uvicorn raises SIGTERM again when it has shut down: nothing of ours runs then."""
    with Program("server", bell.path + ".s", bell.path) as program, figures.scored("uvicorn stopped, no process left"):
        bell.wait()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(bell.path + ".s")
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            assert bell.wait() if path == "/slow" else client.recv(12) == b"HTTP/1.1 200"
            workers = len(program.alive()) - 1
            program.signal(signal.SIGTERM)
            figures.times(f"uvicorn, {path}: SIGTERM to exit (1 s of it its own patience)", [program.ended(20)])
        left, _ = program.orphans(ORPHAN_SECONDS)

        assert workers >= 2
        assert left == []
        assert program.process.returncode == -signal.SIGTERM


# ── Ctrl-C ───────────────────────────────────────────────────────────────────────────────────────────────────────────

DELAYS = (0.0, 0.01, 0.03, 0.06, 0.1, 0.2)
"""Seconds between two Ctrl-C: while the first is heard, obeyed, and after."""


PRESSES = 4
"""How often Ctrl-C may have to be pressed again where asyncio has lost what the second one hit: for its loop, for the
pools that Python waits for, for the processes that multiprocessing does, and once more."""


def interrupted(bell, load, *, group, again=None):
    """Press Ctrl-C on a script in mid-run; gives the seconds until its exit, who is left then, and its stderr.

    The seconds are None if it had to be pressed more than twice.
    """
    with Program("script", bell.path, load) as program:
        bell.wait()
        bell.wait()
        program.signal(signal.SIGINT, group=group)
        if again is not None and not program.ends_within(again):
            program.signal(signal.SIGINT, group=group)
        pressed = 0
        while again is not None and pressed < PRESSES and not program.ends_within(5):
            program.signal(signal.SIGINT, group=group)
            pressed += 1
        seconds = program.ended(20) + (again or 0.0)
        return None if pressed else seconds, program.orphans(ORPHAN_SECONDS)[0], program.complained


@pytest.mark.parametrize("load", ["napping", "held"])
@pytest.mark.parametrize("group", [True, False], ids=["group", "parent_only"])
def test_F1_ctrl_c_ends_a_script(bell, group, load):  # noqa: N802
    """Within a second, with one traceback, without a line from a worker; a terminal tells all, a notebook one."""
    to = "the group" if group else "the parent"
    runs = [interrupted(bell, load, group=group) for _ in range(2)]

    for _, left, complained in runs:
        assert left == []
        assert_only_ours(complained)
    figures.times(f"Ctrl-C to {to}, workers {load}: exit", [seconds for seconds, _, _ in runs], 1.0)


@pytest.mark.parametrize("group", [True, False], ids=["group", "parent_only"])
def test_F2_a_second_ctrl_c_ends_it_too(bell, group):  # noqa: N802
    """Whenever it comes; what it hits may be a callback of Python itself, which then tells of an ignored exception.

    It may also hit asyncio between taking a callback from its queue and calling it. That is lost, and who waits for it
    waits for ever: any program of asyncio's then needs one more, and what it leaves behind some more.
    """
    to = "the group" if group else "the parent"
    runs = [interrupted(bell, "held", group=group, again=delay) for delay in DELAYS]

    for seconds, left, complained in runs:
        assert left == []
        if seconds is not None:
            assert_no_worker_spoke(complained)
    heard = [seconds for seconds, _, _ in runs if seconds is not None]
    assert len(heard) >= len(runs) - 1
    figures.times(f"two Ctrl-C to {to}: exit", heard, 1.0)


def assert_only_ours(complained):
    """One traceback, the main program's: `asyncio.run` raises KeyboardInterrupt in place of the CancelledError."""
    assert complained.count("Traceback") == complained.count("During handling") + 1, complained
    assert "Exception ignored" not in complained, complained
    assert_no_worker_spoke(complained)


def assert_no_worker_spoke(complained):
    """The last word is the main program's, and none is another process's."""
    assert complained.endswith("KeyboardInterrupt\n"), complained
    for word in ("Process ", "_worker.py", "_items.py", "resource_tracker", "never retrieved"):
        assert word not in complained, complained
