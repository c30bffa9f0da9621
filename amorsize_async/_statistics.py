"""What an executor holds and does at one moment. Looked at here, never kept."""

from __future__ import annotations

from dataclasses import dataclass

from ._admission import Admission
from .backends import LocalPool

__all__ = ("ExecutorStatistics", "statistics_of")


@dataclass(frozen=True, slots=True)
class ExecutorStatistics:
    """An executor at one moment.

    n_jobs: workers it may have. workers: pids of those that are there. busy: workers that have a chunk. queued: chunks
    that wait for a worker. chunks: chunks in workers now. started, lost, recycled: workers that were started, died, and
    were replaced as worn so far. closed: whether it takes no more calls. pending: calls that are in it, waiting or
    running. max_pending: how many it takes at once, None for any number.
    """

    n_jobs: int
    workers: tuple[int, ...]
    busy: int
    queued: int
    chunks: int
    started: int
    lost: int
    recycled: int
    closed: bool
    pending: int
    max_pending: int | None


def statistics_of(pool: LocalPool | None, n_jobs: int, admission: Admission, *, closing: bool) -> ExecutorStatistics:
    """The statistics of an executor of `n_jobs` workers; pool: None before its start. closing: it takes no calls."""
    places = [] if pool is None else pool.places
    return ExecutorStatistics(
        n_jobs=n_jobs,
        workers=tuple(place.pid for place in places if place.pid is not None),
        busy=sum(place.load > 0 for place in places),
        queued=0 if pool is None else pool.queued,
        chunks=sum(place.load for place in places),
        started=0 if pool is None else pool.started,
        lost=0 if pool is None else pool.lost,
        recycled=0 if pool is None else pool.recycled,
        closed=closing or (pool is not None and pool.closed),
        pending=admission.pending,
        max_pending=admission.max_pending,
    )
