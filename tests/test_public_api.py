"""What is public, and how it looks: names, records, representations."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys

import pytest

import amorsize_async
from amorsize_async import AsyncExecutor
from amorsize_async._chunk import Chunk, ChunkReply
from amorsize_async._costs import Costs, Observation
from amorsize_async._failures import Failure
from amorsize_async._job import JobProgress
from amorsize_async._wire import Batch, FailedItem
from amorsize_async._worker_start import Hello, Setup
from amorsize_async.executor import ExecutorStatistics

NAMES = {
    "AmorsizeError",
    "AsyncExecutor",
    "HookContext",
    "HookEvent",
    "HookManager",
    "Job",
    "Report",
    "ResultStream",
    "RetryPolicy",
    "create_error_hook",
    "create_progress_hook",
    "create_throughput_hook",
    "create_timing_hook",
    "execute",
    "execute_async",
    "stream_async",
}


def test_the_top_level_names_are_these():
    """A new name is a decision: at most twenty."""
    assert set(amorsize_async.__all__) == NAMES
    assert len(NAMES) <= 20
    assert set(amorsize_async.__all__) <= set(dir(amorsize_async))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_is_there_and_documented(name):
    """Imported on first use."""
    assert getattr(amorsize_async, name).__doc__


@pytest.mark.parametrize("module", ["errors", "events", "hooks", "policies", "report"])
def test_public_modules_are_there_without_an_import_of_their_own(module):
    """`amorsize_async.errors.ItemTimeoutError` works in a program that imports the package alone."""
    program = f"import amorsize_async; print(amorsize_async.{module}.__name__)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert run.stdout == f"amorsize_async.{module}\n"
    assert module in dir(amorsize_async)


def test_an_unknown_name_is_an_attribute_error():
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        amorsize_async.nothing  # noqa: B018 - the access is the test


@pytest.mark.parametrize("module", ["errors", "events", "executor", "hooks", "policies", "report"])
def test_public_modules_say_what_they_export(module):
    """A tuple of names, all there."""
    loaded = importlib.import_module(f"amorsize_async.{module}")

    assert isinstance(loaded.__all__, tuple)
    assert all(hasattr(loaded, name) for name in loaded.__all__)


@pytest.mark.parametrize(
    "record",
    [
        amorsize_async.HookContext,
        amorsize_async.Report,
        Batch,
        Chunk,
        ChunkReply,
        Costs,
        ExecutorStatistics,
        FailedItem,
        Failure,
        Hello,
        JobProgress,
        Observation,
        Setup,
    ],
)
def test_records_that_cross_a_border_are_frozen_and_slotted(record):
    """Nobody changes what another holds: dataclasses, and named tuples where one is made for each chunk."""
    named_tuple = issubclass(record, tuple)
    one = record._make(record._fields) if named_tuple else object.__new__(record)
    first = record._fields[0] if named_tuple else dataclasses.fields(record)[0].name

    assert not hasattr(one, "__dict__")
    with pytest.raises(AttributeError):  # FrozenInstanceError is one, too
        setattr(one, first, None)


def test_every_error_of_ours_has_one_base():
    """And lives in one module, where the tree is drawn."""
    from amorsize_async import errors

    kinds = [getattr(errors, name) for name in errors.__all__]
    assert all(issubclass(kind, errors.AmorsizeError) for kind in kinds)
    assert all(name in errors.__doc__ for name in errors.__all__)


async def test_an_executor_shows_its_state():
    """In its representation, where tests and people read it."""
    executor = AsyncExecutor(2)
    assert repr(executor) == "<AsyncExecutor n_jobs=2 not started>"
    async with executor:
        assert "2 places, 0 chunks, 0 executions" in repr(executor)
        assert len(executor.statistics().workers) == 2
    assert "closed" in repr(executor)
    assert executor.statistics().closed
