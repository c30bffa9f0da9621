"""What is remembered of a run's events."""

from __future__ import annotations

from amorsize_async._history import History
from amorsize_async.events import HookContext, HookEvent

CHUNK, ERROR, PROGRESS = HookEvent.ON_CHUNK_COMPLETE, HookEvent.ON_ERROR, HookEvent.ON_PROGRESS


def history_of(*events, limit=256):
    """Remember events in turn; their sequence is their place."""
    history = History(limit)
    for sequence, event in enumerate(events):
        history.add(HookContext(event, sequence=sequence))
    return history


def read(history, after=-1):
    """All that a reader gets, as (sequence, event)."""
    seen = []
    while (context := history.after(after)) is not None:
        seen.append((context.sequence, context.event))
        after = context.sequence
    return seen


def test_a_reader_gets_what_is_later_than_what_it_has_seen():
    """In order."""
    history = history_of(HookEvent.PRE_EXECUTE, CHUNK, ERROR)

    assert read(history) == [(0, HookEvent.PRE_EXECUTE), (1, CHUNK), (2, ERROR)]
    assert read(history, after=1) == [(2, ERROR)]
    assert read(history, after=2) == []


def test_of_progress_the_newest_is_remembered():
    """It tells all that the older ones told."""
    history = history_of(HookEvent.PRE_EXECUTE, PROGRESS, CHUNK, PROGRESS, PROGRESS)

    assert read(history) == [(0, HookEvent.PRE_EXECUTE), (2, CHUNK), (4, PROGRESS)]


def test_there_is_a_limit_and_first_and_last_survive_it():
    """However many chunks there are."""
    history = history_of(HookEvent.PRE_EXECUTE, *[CHUNK, PROGRESS] * 1000, HookEvent.POST_EXECUTE, limit=8)
    seen = read(history)

    assert len(seen) == 8
    assert (seen[0], seen[-1]) == ((0, HookEvent.PRE_EXECUTE), (2001, HookEvent.POST_EXECUTE))


def test_failures_are_remembered_longer_than_chunks():
    """A chunk that is done is in the numbers of the next event; who failed is not."""
    history = history_of(HookEvent.PRE_EXECUTE, ERROR, *[CHUNK] * 100, limit=8)

    assert (1, ERROR) in read(history)


def test_the_newest_progress_is_remembered_longer_than_failures():
    """Also where it came before all of them."""
    history = history_of(HookEvent.PRE_EXECUTE, PROGRESS, ERROR, ERROR, ERROR, limit=4)

    assert read(history) == [(0, HookEvent.PRE_EXECUTE), (1, PROGRESS), (3, ERROR), (4, ERROR)]


def test_too_many_failures_are_forgotten_too():
    """Memory is bounded, whatever happens."""
    history = history_of(HookEvent.PRE_EXECUTE, *[ERROR] * 100, limit=8)

    assert [sequence for sequence, _ in read(history)] == [0, *range(94, 101)]


def test_it_knows_its_end():
    """POST_EXECUTE is the last word."""
    assert not history_of().ended
    assert not history_of(HookEvent.PRE_EXECUTE).ended
    assert history_of(HookEvent.PRE_EXECUTE, HookEvent.POST_EXECUTE).ended
