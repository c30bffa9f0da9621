"""Executors on real processes: started as by default, or in one way after the other where that may matter."""

from __future__ import annotations

import os

import pytest

from amorsize_async import AsyncExecutor

START_METHODS = os.environ.get("TEST_START_METHODS", "forkserver,spawn").split(",")
# Fewer of them for a quicker run, where another run has all.


def pytest_collection_modifyitems(config, items):
    """Leave out spawn on uvloop: how workers start does not depend on the loop, and a spawned one takes long."""
    both = [item for item in items if "spawn" in (name := item.nodeid.rpartition("[")[2]) and "uvloop" in name]
    config.hook.pytest_deselected(items=both)
    items[:] = [item for item in items if item not in both]


@pytest.fixture(params=START_METHODS)
def start_method(request):
    """How workers are started: the two ways that are safe under an event loop."""
    return request.param


@pytest.fixture
async def executor():
    """A warm executor of two workers, closed after the test."""
    async with AsyncExecutor(2) as executor:
        yield executor


@pytest.fixture
async def each_executor(start_method):
    """The same, started in one way after the other: for what a worker imports, what it is sent, and how it dies."""
    async with AsyncExecutor(2, start_method=start_method) as executor:
        yield executor
