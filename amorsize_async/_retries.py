"""Which failed items are tried again, and as which batches; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ._wire import Batch, FailedItem
from .errors import UnpicklableError, WorkerCrashedError
from .policies import RetryPolicy

__all__ = ("second_chances", "settled")

FINAL = (UnpicklableError, WorkerCrashedError)
# What is not tried again, whatever the policy: what cannot be pickled will not be the next time, and how many workers
# may die of an item is `max_item_deaths`.


def second_chances(policy: RetryPolicy | None, batch: Batch, failures: Iterable[FailedItem]) -> list[Batch]:
    """The items of a batch that are worth another attempt, neighbours together, as batches of that attempt.

    Together, since the coroutines of one chunk wait together: one by one they would take a worker each.
    """
    if policy is None:
        return []
    offsets = [
        failed.index - batch.start
        for failed in failures
        if not isinstance(failed.exception, FINAL) and policy.again(failed.exception, batch.attempt)
    ]
    return [batch.part(first, end).next_attempt() for first, end in _neighbours(offsets)]


def settled(batch: Batch, done: int, again: Sequence[Batch]) -> list[tuple[int, int]]:
    """The offsets, as (first, end), of the first `done` items of a batch that are not tried again."""
    gaps = [(part.start - batch.start, part.start - batch.start + len(part.items)) for part in again]
    edges = [0, *(offset for gap in gaps for offset in gap), done]
    return [(first, end) for first, end in zip(edges[::2], edges[1::2], strict=True) if first < end]


def _neighbours(offsets: Iterable[int]) -> list[tuple[int, int]]:
    """Rising offsets as ranges without gaps."""
    ranges: list[tuple[int, int]] = []
    for offset in offsets:
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + 1)
        else:
            ranges.append((offset, offset + 1))
    return ranges
