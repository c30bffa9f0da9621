"""What every test gets: both event loops, a check that it leaves nothing behind, and settled randomness."""

from __future__ import annotations

import asyncio
import os
import signal

import hypothesis

import leaks
from leaks import nothing_left_behind  # noqa: F401 - pytest finds a fixture by its name

try:
    import uvloop
except ImportError:
    uvloop = None

leaks.isolate()

# A shell starts what it runs in the background with SIGINT ignored, and every program that a test starts inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A shared machine makes a deadline a lottery. CI repeats the same examples, a developer explores.
hypothesis.settings.register_profile("default", deadline=None, print_blob=True, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("default")


LOOPS = os.environ.get("TEST_LOOPS", "asyncio,uvloop").split(",")
# Fewer of them for a quicker run, where another run has all.


def pytest_asyncio_loop_factories(config, item):
    """Run each async test on asyncio's loop and, where it can be installed, uvloop's; or on the one that it names."""
    factories = {"asyncio": asyncio.new_event_loop}
    if uvloop is not None:
        factories["uvloop"] = uvloop.new_event_loop
    mark = item.get_closest_marker("asyncio")
    if mark is not None and "loop_factories" in mark.kwargs:
        return factories
    return {name: factories[name] for name in factories if name in LOOPS} or factories


def pytest_sessionstart(session):
    """Let libuv open, before any test is watched, the two descriptors that it keeps for the life of a process."""
    if uvloop is not None:
        uvloop.new_event_loop().close()


def pytest_report_header(config):
    """Tell which event loops take part."""
    return f"event loops: asyncio{', uvloop ' + uvloop.__version__ if uvloop else ' (uvloop is not installed)'}"
