"""The tasks of a run: how they end it, and that none of them ends it unheard."""

from __future__ import annotations

import asyncio

import pytest

from amorsize_async._books import Books
from amorsize_async._chunking import ChunkSizer
from amorsize_async._crew import Crew, unexpected
from amorsize_async._results import Collector
from amorsize_async.report import Tally


@pytest.fixture
def books():
    """Books in which nothing stands yet."""
    tally = Tally(n_jobs=1, total=9, tolerant=False, is_async=False)
    return Books(tally, Collector(), ChunkSizer(1), tolerant=False)


@pytest.fixture
def crew(books):
    """A crew without a group."""
    return Crew(books)


async def forever():
    """Wait for nothing."""
    await asyncio.Event().wait()


async def outcome_of(crew, *steps):
    """What else than the end of the run its tasks raised, when `steps` were taken while it ran."""
    try:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            crew.open(group)
            for step in steps:
                step()
                await asyncio.sleep(0)
            await crew.done()
    except BaseExceptionGroup as group:
        return unexpected(group)
    return "done"


async def test_it_is_done_when_all_its_tasks_are(crew):
    """Also those that came while it waited."""
    ran = []

    async def first():
        crew.run(second())

    async def second():
        ran.append(2)

    assert await outcome_of(crew, lambda: crew.run(first())) == "done"
    assert ran == [2]


async def test_a_task_that_is_cancelled_alone_ends_the_run(crew, books):
    """As cancelled: the group would take it for one that is done."""
    tasks = []

    def begin():
        tasks.append(crew.run(forever()))

    def cancel():
        tasks[0].cancel()

    assert await outcome_of(crew, begin, cancel) is None
    assert isinstance(books.outcome, asyncio.CancelledError)


async def test_it_is_ended_from_outside_of_its_tasks(crew, books):
    """With an error that is not raised by them."""
    closed = RuntimeError("closed")

    assert await outcome_of(crew, lambda: crew.run(forever()), lambda: crew.end(closed)) is None
    assert books.outcome is closed


async def test_what_a_task_raises_by_accident_is_not_taken_for_the_end(crew):
    """It is a fault, and comes out."""

    async def faulty():
        raise LookupError("a fault")

    others = await outcome_of(crew, lambda: crew.run(faulty()))
    assert [type(each) for each in others.exceptions] == [LookupError]


async def test_before_it_has_a_group_and_after_its_end_nothing_is_begun(crew):
    """What would have run is closed, and warns of nothing."""
    assert not crew.begun
    assert crew.run(forever()) is None
    await outcome_of(crew)
    assert crew.begun
    assert crew.run(forever()) is None
