"""What the caller of one execution asked for, once it is checked."""

from __future__ import annotations

from dataclasses import dataclass

from .policies import RetryPolicy

__all__ = ("RunOptions",)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the caller asked for.

    n_jobs: the most workers at once, None for all.
    return_exceptions: failed items stand in the results as exceptions. retry: what is tried again. item_timeout:
    seconds that one item may run, None for any. cancel_grace: seconds that running items get when the execution is
    cancelled. max_item_deaths: workers that may die of one item before it is given up.
    """

    n_jobs: int | None = None
    return_exceptions: bool = False
    retry: RetryPolicy | None = None
    item_timeout: float | None = None
    cancel_grace: float = 0.1
    max_item_deaths: int = 2
