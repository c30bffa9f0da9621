"""The vocabulary of the hooks, field by field."""

from __future__ import annotations

import pickle
import time
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from amorsize_async.events import HookContext, HookEvent

EVENTS = [
    ("PRE_EXECUTE", "pre_execute"),
    ("POST_EXECUTE", "post_execute"),
    ("ON_WORKER_START", "on_worker_start"),
    ("ON_WORKER_END", "on_worker_end"),
    ("ON_CHUNK_COMPLETE", "on_chunk_complete"),
    ("ON_ERROR", "on_error"),
    ("ON_PROGRESS", "on_progress"),
]

FIELDS = {
    "n_jobs": None,
    "chunksize": None,
    "total_items": None,
    "items_completed": 0,
    "items_remaining": 0,
    "percent_complete": 0.0,
    "elapsed_time": 0.0,
    "estimated_time_remaining": 0.0,
    "throughput_items_per_sec": 0.0,
    "avg_item_time": 0.0,
    "worker_id": None,
    "worker_count": 0,
    "chunk_id": None,
    "chunk_size": None,
    "chunk_time": 0.0,
    "error": None,
    "error_message": None,
    "error_traceback": None,
    "results_count": 0,
    "results_size_bytes": 0,
    "metadata": {},
    "execution_id": None,
    "sequence": 0,
    "status": "running",
}


def test_there_are_seven_events_in_this_order():
    """Names, values and order are the contract."""
    assert [(event.name, event.value) for event in HookEvent] == EVENTS


def test_an_event_is_found_by_its_value():
    """Configuration names events by value."""
    assert [HookEvent(value).name for _, value in EVENTS] == [name for name, _ in EVENTS]


def test_events_are_hashed_by_identity():
    """A look-up by event costs no Python code, and a pickled event finds the same entry."""
    assert HookEvent.__hash__ is object.__hash__
    assert {HookEvent.ON_ERROR: 1}[pickle.loads(pickle.dumps(HookEvent.ON_ERROR))] == 1


def test_a_context_has_these_fields_in_this_order():
    """Event and time come first, then the fields of the contract, then ours."""
    assert [field.name for field in fields(HookContext)] == ["event", "timestamp", *FIELDS]


@pytest.mark.parametrize(("field", "default"), FIELDS.items(), ids=FIELDS)
def test_only_the_event_is_required(field, default):
    """Every other field has its documented default, of its documented type."""
    value = getattr(HookContext(HookEvent.ON_PROGRESS), field)
    assert value == default
    assert type(value) is type(default)


def test_the_timestamp_is_the_wall_clock():
    """It defaults to now, in seconds since 1970."""
    before = time.time()
    assert before <= HookContext(HookEvent.ON_ERROR).timestamp <= time.time()


def test_a_context_without_an_event_is_refused():
    """There is no event to default to."""
    with pytest.raises(TypeError, match="event"):
        HookContext()


def test_a_context_cannot_be_changed():
    """Hooks share one context, so none of them may write to it, nor add to it."""
    context = HookContext(HookEvent.PRE_EXECUTE)
    with pytest.raises(FrozenInstanceError):
        context.n_jobs = 8
    with pytest.raises((FrozenInstanceError, TypeError, AttributeError)):
        context.surprise = True
    assert not hasattr(context, "__dict__")


def test_each_context_has_its_own_metadata():
    """What is written into one dictionary shows in no other."""
    first, second = HookContext(HookEvent.PRE_EXECUTE), HookContext(HookEvent.PRE_EXECUTE)
    first.metadata["key"] = 1
    assert second.metadata == {}


def test_a_context_can_be_copied_compared_hashed_and_pickled():
    """It is a plain record."""
    context = HookContext(HookEvent.ON_CHUNK_COMPLETE, chunk_id=3, metadata={"bytes": 7})
    assert replace(context, chunk_id=4) != context
    assert pickle.loads(pickle.dumps(context)) == context
    assert hash(replace(context)) == hash(context)
