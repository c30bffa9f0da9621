"""What the workers of an executor are told, checked and made to travel before any of them starts.

And what an executor may have that is made in a worker: its part of the CPUs, and workers of its own only so deep.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from typing import Any

from . import _payload
from ._call import checked_number
from ._coroutines import is_async_callable
from ._system import default_start_method, usable_cpus
from ._worker import state
from ._worker_start import Initializer, Setup
from .backends import SlotSettings
from .errors import WorkerStartError

__all__ = ("cpus_here", "refuse_too_deep", "slot_settings")

DEEPEST = 5
# How deep workers may have workers of their own: one that calls itself without end would fill the machine with them.


def cpus_here() -> int:
    """CPUs that an executor made here may use: those of this process, or in a worker its part of them."""
    return state.n_jobs or usable_cpus()


def refuse_too_deep() -> None:
    """Raise WorkerStartError where too many workers are inside each other already."""
    if state.depth >= DEEPEST:
        raise WorkerStartError(
            f"this is a worker of a worker, {state.depth} deep, and may have no workers of its own; does the "
            "function call itself through execute? Use executor='thread' here, or flatten the calls"
        )


def slot_settings(
    n_jobs: int,
    *,
    start_method: str | None,
    initializer: Callable[..., object] | None,
    initargs: Iterable[Any],
    inner_threads: int | None,
    start_timeout: float,
    max_items: int | None,
    max_rss: int | None,
) -> SlotSettings:
    """How an executor of `n_jobs` workers makes each; the options mean, and raise, what `AsyncExecutor` says."""
    checked_number("inner_threads", inner_threads)
    checked_number("start_timeout", start_timeout, 0.001, whole=False, optional=False)
    checked_number("max_items_per_worker", max_items)
    checked_number("max_worker_rss", max_rss)
    setup = Setup(
        _travelling_initializer(initializer, initargs),
        inner_threads,
        n_jobs=max(1, cpus_here() // n_jobs),
        depth=state.depth + 1,
    )
    return SlotSettings(_checked_start_method(start_method), setup, start_timeout, max_items, max_rss)


def _travelling_initializer(initializer: Callable[..., object] | None, initargs: Iterable[Any]) -> Initializer | None:
    if not isinstance(initargs, Iterable):
        raise TypeError(f"initargs is a {type(initargs).__name__}; pass a tuple of the initializer's arguments")
    arguments = tuple(initargs)
    if initializer is None:
        return None
    if not callable(initializer):
        raise TypeError(f"initializer is a {type(initializer).__name__}, not a callable; pass a function, or None")
    if is_async_callable(initializer):
        raise TypeError("initializer is a coroutine function, which nobody would await; pass a plain one")
    try:
        return _pickled_together_or_not(initializer, arguments)
    except Exception as exc:  # pickling is user code, and may raise anything
        raise _payload.unpicklable("function", (initializer, arguments), exc, where="the initializer") from exc


def _pickled_together_or_not(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> Initializer:
    """The initializer with its arguments as a pickle; or as two, the arguments as they are.

    multiprocessing's own queues, locks and shared values can only be pickled by it, while it starts a process.
    """
    try:
        return _payload.dumps((initializer, initargs))
    except RuntimeError:  # "... should only be shared between processes through inheritance"
        return _payload.dumps(initializer), initargs


def _checked_start_method(start_method: str | None) -> str:
    if start_method is None:
        return default_start_method()
    known = multiprocessing.get_all_start_methods()
    if start_method not in known:
        raise ValueError(f"start_method={start_method!r} is not known here; pass one of {', '.join(known)}, or None")
    return start_method
