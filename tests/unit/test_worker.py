"""What the worker runs, run here: chunks, failures, strides, budgets."""

from __future__ import annotations

import gc
import pickle

import pytest

import jobs
from amorsize_async import _failures, _items, _payload, _worker
from amorsize_async._chunk import CELL_WORDS, CURRENT, STOP, Chunk
from amorsize_async.errors import RemoteError, RemoteTraceback, UnpicklableError


def run(fn, items, **fields):
    """Run a chunk as a worker would, and give the reply with its values unpickled."""
    packed = _payload.pack_function(fn)
    parcel, unsent = _payload.pack_items(items, _payload.Packing(singly=fields.pop("singly", False)))
    chunk = Chunk(0, 1, packed.digest, packed.pickled, parcel, unsent=tuple(unsent), **fields)
    reply = pickle.loads(pickle.dumps(_worker.run_chunk(pickle.loads(pickle.dumps(chunk)))))
    return reply, None if reply.refused else _payload.load_parcel(reply.values)[0]


@pytest.mark.parametrize("stride", [1, 4, 512])
def test_values_do_not_depend_on_the_stride(stride):
    """Strides change how often the worker looks up, and nothing else."""
    reply, values = run(jobs.square, range(10), stride=stride)

    assert values == [number * number for number in range(10)]
    assert reply.done == 10


@pytest.mark.parametrize("stride", [1, 4, 512])
def test_a_failing_item_is_found_in_any_stride(stride):
    """Its offset is exact, and the items after it run if they should."""
    reply, values = run(jobs.divide, [4, 2, 0, 1], stride=stride, stop_at_failure=False)

    assert values == [0.25, 0.5, None, 1.0]
    assert [failure.offset for failure in reply.failures] == [2]


class Late(list):
    """Raises behind the last of a slice, as the handler of a signal may that comes then."""

    def __getitem__(self, key):
        def slices():
            yield from list(self)[key]
            raise TimeoutError

        return slices()


def test_what_is_raised_when_all_items_are_done_is_no_items():
    """The next item is not even begun."""
    chunk = Chunk(0, 1, b"", None, b"", stride=2, stop_at_failure=False)
    reply = _items.run_items(jobs.square, Late(range(6)), chunk, cell=[0] * CELL_WORDS)

    assert reply.values == [0, 1, 4, 9, 16, 25]
    assert reply.failures == ()


@pytest.mark.parametrize("enabled", [True, False])
def test_no_garbage_is_looked_for_while_items_are_unpickled(enabled):
    """It is when they run, unless somebody has switched that off for good."""
    try:
        if not enabled:
            gc.disable()
        _, values = run(jobs.and_now, [jobs.CollectsGarbage()])
    finally:
        gc.enable()

    assert values == [(False, enabled)]


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("name", ["StopIteration", "SystemExit", "KeyboardInterrupt", "GeneratorExit"])
def test_exceptions_that_would_end_the_caller_come_as_stand_ins(stride, name):
    """Raised bare in a coroutine they would end the program, or be something else."""
    reply, values = run(jobs.exit_on, [("ok", 1), ("raise", name), ("ok", 3)], stride=stride, stop_at_failure=False)
    exc = _failures.received(reply.failures[0], 1)

    assert values == [1, None, 3]
    assert isinstance(exc, RemoteError)
    assert exc.type_name == name


def test_an_exception_comes_as_itself_with_its_traceback_and_index():
    """The cause shows the worker's frames, the note names the item."""
    reply, _ = run(jobs.divide, [1, 0])
    exc = _failures.received(reply.failures[0], 41)

    assert type(exc) is ZeroDivisionError
    assert isinstance(exc.__cause__, RemoteTraceback)
    assert "in divide" in str(exc.__cause__)
    assert exc.__notes__ == ["amorsize_async: raised for item 41"]


def test_an_exception_that_does_not_survive_pickling_is_told_of():
    """Its name, text and traceback arrive, and nothing else breaks."""
    reply, _ = run(jobs.raise_odd, [1])
    exc = _failures.received(reply.failures[0], 0)

    assert isinstance(exc, RemoteError)
    assert str(exc) == "OddError: odd (1)"
    assert "raise_odd" in str(exc.__cause__)


def test_an_exception_that_comes_back_as_something_else_is_told_of():
    """What its class unpickles to here may be anything; it is to be raised."""
    exc = _failures.received(_failures.Failure(0, pickle.dumps("no exception"), "its traceback"), 7)

    assert isinstance(exc, RemoteError)
    assert "the exception of item 7 cannot be unpickled here" in str(exc)


def test_a_result_that_cannot_be_pickled_fails_alone():
    """The others are sent, and the message says what to do."""
    reply, values = run(jobs.make_lock, [1, 2, 3, 4], stop_at_failure=False)
    exc = _failures.received(reply.failures[0], 2)

    assert values == [1, 2, None, 4]
    assert isinstance(exc, UnpicklableError)
    assert "return plain data" in str(exc)


def test_a_parcel_that_does_not_unpickle_is_asked_for_item_by_item():
    """Nothing has run then; sent singly, only the bad item fails."""
    assert run(jobs.identity, [1, jobs.Bomb(), 3])[0].refused == "items"

    reply, values = run(jobs.identity, [1, jobs.Bomb(), 3], singly=True, stop_at_failure=False)
    assert values == [1, None, 3]
    assert [failure.offset for failure in reply.failures] == [1]


def test_a_function_that_is_not_there_is_asked_for():
    """A worker that has forgotten a function says so, and runs nothing."""
    chunk = Chunk(0, 1, b"never seen", None, _payload.pack_items([1])[0])

    assert _worker.run_chunk(chunk).refused == "function"


def test_the_cell_tells_the_item_it_is_on_and_stops_between_items():
    """Index plus one while an item runs; the stop word ends the chunk after the item that set it."""
    cell, seen = [0] * CELL_WORDS, []

    def watch(item):
        seen.append(cell[CURRENT])
        cell[STOP] = item == 2
        return item

    reply = _items.run_items(watch, [1, 2, 3], Chunk(10, 3, b"", None, b""), cell=cell)

    assert seen == [11, 12]
    assert (reply.values, reply.done, cell[CURRENT]) == ([1, 2], 2, 0)


def test_a_chunk_over_its_budget_sends_the_rest_back():
    """At least one item is run, so that work goes on."""
    reply = _items.run_items(jobs.square, [1, 2, 3], Chunk(0, 3, b"", None, b"", budget=0.0), cell=[0] * CELL_WORDS)

    assert (reply.values, reply.done) == ([1], 1)


def test_coroutines_of_a_chunk_run_at_once_and_fail_alone():
    """In input order, whoever ends first."""
    reply, values = run(jobs.fail_soon, [1, 0, 2], is_async=True)

    assert values == [1.0, None, 0.5]
    assert [failure.offset for failure in reply.failures] == [1]


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_coroutine_that_cancels_its_own_task_fails_alone(timeout):
    """The chunk goes on, and no other item of it runs once more."""
    reply, values = run(jobs.cancel_itself, [1, 0, 2], is_async=True, item_timeout=timeout)

    assert values == [1, None, 2]
    (failure,) = reply.failures
    assert (failure.offset, _failures.received(failure, 1).type_name) == (1, "CancelledError")
