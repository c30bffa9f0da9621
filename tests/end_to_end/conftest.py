"""Executors on real processes, one start method after the other."""

from __future__ import annotations

import os

import pytest

from amorsize_async import AsyncExecutor

START_METHODS = os.environ.get("TEST_START_METHODS", "forkserver,spawn").split(",")
# Fewer of them for a quicker run, where another run has all.


@pytest.fixture(params=START_METHODS)
def start_method(request):
    """How workers are started: the two ways that are safe under an event loop."""
    return request.param


@pytest.fixture
async def executor(start_method):
    """A warm executor of two workers, closed after the test."""
    async with AsyncExecutor(2, start_method=start_method) as executor:
        yield executor
