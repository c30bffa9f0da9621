"""What to do with an item that failed: pure decisions, no clock, no loop."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from ._coroutines import is_async_callable

__all__ = ("RetryPolicy",)

Retryable = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failed item is tried again, and after what wait; a waiting item holds no worker.

    attempts: times an item is run at most, the first included, at least 1.
    on: which failures are worth another attempt: an exception class, several, or a function of the exception.
    wait_initial: seconds before the second attempt. wait_exp_base: factor from one wait to the next. wait_max: the
    longest wait in seconds. wait_jitter: seconds of random extra, so that items that failed together do not return
    together; it never makes a wait longer than `wait_max`.

    Names and formula are stamina's: `min(wait_max, wait_initial * wait_exp_base ** (attempt - 1) + jitter)`.
    """

    attempts: int = 3
    on: Retryable = Exception
    wait_initial: float = 0.1
    wait_max: float = 5.0
    wait_exp_base: float = 2.0
    wait_jitter: float = 1.0

    def __post_init__(self) -> None:
        """Raise TypeError or ValueError for what makes no sense."""
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            raise TypeError(f"attempts is a {type(self.attempts).__name__}; pass a whole number of at least 1")
        if self.attempts < 1:
            raise ValueError(f"attempts={self.attempts} is too small; pass at least 1, the first attempt included")
        for name in ("wait_initial", "wait_max", "wait_exp_base", "wait_jitter"):
            _check_wait(name, getattr(self, name))
        _check_retryable(self.on)

    @classmethod
    def of(cls, retry: RetryPolicy | int | None) -> RetryPolicy | None:
        """The policy that `retry=` means: attempts as a number, a policy, or None for no second attempt."""
        if retry is None or isinstance(retry, RetryPolicy):
            return retry
        try:
            return cls(attempts=retry)
        except (TypeError, ValueError) as exc:
            raise type(exc)(f"retry={retry!r}: {exc}; or pass a RetryPolicy") from None

    def again(self, exc: BaseException, attempt: int) -> bool:
        """Whether an item that failed with `exc` in its attempt number `attempt`, from 1, is tried again.

        Raises what a function in `on` raises; RuntimeError for what would look like a cancellation of the call.
        """
        if attempt >= self.attempts:
            return False
        if isinstance(self.on, type | tuple):
            return isinstance(exc, self.on)
        try:
            return bool(self.on(exc))
        except (Exception, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as raised:  # CancelledError and the like: nobody cancelled the call
            raise RuntimeError(f"the function in RetryPolicy(on=...) raised {type(raised).__name__}") from raised

    def wait(self, attempt: int, jitter: Callable[[float, float], float] = random.uniform) -> float:
        """Seconds between attempt number `attempt`, from 1, and the next."""
        try:
            backoff = self.wait_initial * float(self.wait_exp_base) ** (attempt - 1) if self.wait_initial else 0.0
        except OverflowError:
            return self.wait_max
        return min(self.wait_max, backoff + jitter(0.0, self.wait_jitter))


def _check_wait(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a {type(value).__name__}; pass a number of at least 0")
    if not value >= 0:
        raise ValueError(f"{name}={value} is not a wait; pass a number of at least 0")


def _check_retryable(on: object) -> None:
    classes = on if isinstance(on, tuple) else (on,) if isinstance(on, type) else ()
    for each in classes:
        if not isinstance(each, type) or not issubclass(each, BaseException):
            raise TypeError(f"on has {each!r}, which nothing can raise; pass exception classes")
    if is_async_callable(on):
        raise TypeError("on is a coroutine function, which nobody awaits here; pass a plain one")
    if not callable(on) and not isinstance(on, tuple):
        raise TypeError(f"on is a {type(on).__name__}; pass exception classes, or a function of the exception")
