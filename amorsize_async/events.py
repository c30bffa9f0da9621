"""The vocabulary of the hooks: what can happen and what is told about it. No behaviour, and no imports of ours."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

__all__ = (
    "AsyncHookCallback",
    "HookCallback",
    "HookContext",
    "HookEvent",
    "HookPredicate",
    "Status",
    "SyncHookCallback",
)


class HookEvent(Enum):
    """What can happen in an execution. PRE_EXECUTE comes first and POST_EXECUTE last, each exactly once.

    A job that is cancelled before it has begun tells POST_EXECUTE alone.
    """

    PRE_EXECUTE = "pre_execute"
    """Before the first item runs; the run waits for these hooks."""
    POST_EXECUTE = "post_execute"
    """After the last item, on every path: success, failure, cancellation."""
    ON_WORKER_START = "on_worker_start"
    """A worker is ready for the execution, be it new or warm."""
    ON_WORKER_END = "on_worker_end"
    """A worker is gone, or the execution needs it no longer; ``metadata`` says why."""
    ON_CHUNK_COMPLETE = "on_chunk_complete"
    """A chunk came back, in the order in which chunks end."""
    ON_ERROR = "on_error"
    """One item failed; once for each failed item."""
    ON_PROGRESS = "on_progress"
    """The numbers moved. While a hook is busy the newest replaces the one that waits; the last is always delivered."""

    if not TYPE_CHECKING:  # to a type checker an attribute without a type would be an eighth member
        # Members are singletons. Enum's own hash is Python code, four times as slow in every dictionary look-up.
        __hash__ = object.__hash__


Status: TypeAlias = Literal["running", "ok", "error", "cancelled"]
"""Where an execution stands: ``running`` until POST_EXECUTE, which carries the outcome."""


@dataclass(frozen=True, slots=True)
class HookContext:
    """What one event tells. Numbers are cumulative over the execution, so a missed event falsifies none of them."""

    event: HookEvent
    """What happened."""
    timestamp: float = field(default_factory=time.time)
    """When: wall clock, seconds since 1970."""
    n_jobs: int | None = None
    """Workers this execution may use at once; ``None``: not decided yet."""
    chunksize: int | None = None
    """Items per chunk now; ``None``: not decided yet."""
    total_items: int | None = None
    """Items of the execution; ``None``: the input does not tell."""
    items_completed: int = 0
    """Items with an outcome so far."""
    items_remaining: int = 0
    """Items without an outcome yet; 0 if the total is unknown."""
    percent_complete: float = 0.0
    """0 to 100; 0 if the total is unknown. A failed item counts where exceptions are results, and only there."""
    elapsed_time: float = 0.0
    """Seconds since PRE_EXECUTE, monotonic clock."""
    estimated_time_remaining: float = 0.0
    """Seconds until the end at the smoothed throughput; 0 if the total is unknown."""
    throughput_items_per_sec: float = 0.0
    """Items per second, smoothed; at POST_EXECUTE items by elapsed seconds."""
    avg_item_time: float = 0.0
    """Seconds per item, measured in the workers."""
    worker_id: int | None = None
    """Process id of the worker concerned, of threads the native thread id; ``None``: no single worker."""
    worker_count: int = 0
    """Workers that work for the execution now."""
    chunk_id: int | None = None
    """Number of the chunk within the execution, from 0, as they end; ``None``: no single chunk."""
    chunk_size: int | None = None
    """Items of that chunk that have an outcome."""
    chunk_time: float = 0.0
    """Seconds the chunk took, measured in the worker."""
    error: BaseException | None = field(default=None, repr=False)
    """The exception of a failed item or execution."""
    error_message: str | None = field(default=None, repr=False)
    """``str(error)``."""
    error_traceback: str | None = field(default=None, repr=False)
    """The traceback as text, the worker's part included."""
    results_count: int = 0
    """Results the caller got of a run that succeeded; 0 before its end, and of any other."""
    results_size_bytes: int = 0
    """Bytes the workers shipped back so far."""
    metadata: dict[str, Any] = field(default_factory=dict, hash=False, repr=False)
    """What has no field of its own; each context has its own dictionary, which its hooks share: read it only."""
    execution_id: str | None = None
    """The execution this belongs to: tells concurrent ones apart."""
    sequence: int = 0
    """Number of the event within its execution, strictly rising."""
    status: Status = "running"
    """Where the execution stands."""


SyncHookCallback: TypeAlias = Callable[[HookContext], object]
"""A plain callback: runs in a thread of its own (or inline); what it returns is kept for ``trigger`` only."""
AsyncHookCallback: TypeAlias = Callable[[HookContext], Awaitable[object]]
"""A callback that is awaited on the event loop."""
HookCallback: TypeAlias = SyncHookCallback | AsyncHookCallback
"""What may be registered."""
HookPredicate: TypeAlias = Callable[[HookContext], bool]
"""A condition (``when=``): plain, cheap, called where the event arises."""
