"""What a service answers when a call fails for a reason of ours: decided once, for any web framework."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import ExecutorClosedError, ExecutorSaturatedError, ItemTimeoutError, WorkerCrashedError

__all__ = ("KINDS", "Answer", "answer_to")

KINDS = (ExecutorSaturatedError, ExecutorClosedError, ItemTimeoutError, WorkerCrashedError)
"""The errors that there is an answer to."""

_logger = logging.getLogger("amorsize_async.integrations")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: its status, a sentence for the client, which holds no values of items, and its headers."""

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_to(error: BaseException) -> Answer:
    """The answer to one of `KINDS`; what is our side's fault is also logged."""
    match error:
        case ExecutorSaturatedError():
            seconds = math.ceil(error.retry_after)
            return Answer(503, f"too many calls; try again in {seconds} s", {"Retry-After": str(seconds)})
        case ExecutorClosedError():
            return Answer(503, "the service is closing", {"Retry-After": "1"})
        case ItemTimeoutError():
            return Answer(504, f"{_item(error.index)} ran longer than {error.seconds} s")
        case WorkerCrashedError():
            _logger.error("%s ended its worker, exit code %s", _item(error.index), error.exitcode)
            return Answer(500, f"{_item(error.index)} ended its worker")
    raise TypeError(f"there is no answer to a {type(error).__name__}; pass one of {[kind.__name__ for kind in KINDS]}")


def _item(index: int | None) -> str:
    return "an item" if index is None else f"item {index}"
