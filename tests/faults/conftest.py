"""The table at the end, and a pool that outlives many faults."""

from __future__ import annotations

import asyncio
import os

import pytest

from faults import figures
from faults.bells import Bell

try:
    import uvloop
except ImportError:
    uvloop = None

START_METHODS = ("forkserver", "spawn", "fork")
LOOPS = ("asyncio", "uvloop") if uvloop else ("asyncio",)
WAYS = (*(("forkserver", loop) for loop in LOOPS), ("spawn", LOOPS[0]), ("fork", LOOPS[-1]))
"""How pools are started, and on which loop they are used: our own start method on each loop, the others on one."""


def pytest_collection_modifyitems(items):
    """Leave the soak out unless it was asked for."""
    if "FAULTS" not in os.environ:
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(pytest.mark.skip(reason="set FAULTS to the number of faults, 10000 for example"))


def pytest_terminal_summary(terminalreporter):
    """Print the numbers."""
    lines = figures.table()
    if lines:
        terminalreporter.section("what was promised, what was measured")
        for line in lines:
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"Times fail at {figures.SLACK} times their promise; 'slow' is in between.")


@pytest.fixture
def bell(tmp_path):
    """Something for workers to ring."""
    with Bell(tmp_path / "bell") as bell:
        yield bell


def new_runner(loop):
    """A loop of one kind that a test runs things on, one after the other."""
    return asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop)
