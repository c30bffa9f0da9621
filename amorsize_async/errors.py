"""Every exception that the library raises at its users lives here, under one drawn tree.

AmorsizeError
├── WorkerCrashedError      (also BrokenProcessPool) a worker died while it ran an item
├── ItemTimeoutError        (also TimeoutError) an item ran longer than `item_timeout`
├── WorkerStartError        a worker could not be started
├── UnpicklableError        (also TypeError) a function, an item or a result cannot cross to another process
├── InputError              the iterable of input raised
├── RemoteError             an exception of the worker that cannot cross, or must not be raised, as itself
├── ExecutorClosedError     (also RuntimeError) the executor is closed, or belongs to another event loop
├── ExecutorSaturatedError  the executor has as many calls as it takes at once
└── RemoteTraceback         never raised: the worker's traceback, as the `__cause__` of the user's exception

The user's own exception comes out as itself; it is none of these. A wrong argument is a TypeError or a ValueError.
"""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

__all__ = (
    "AmorsizeError",
    "ExecutorClosedError",
    "ExecutorSaturatedError",
    "InputError",
    "ItemTimeoutError",
    "RemoteError",
    "RemoteTraceback",
    "UnpicklableError",
    "WorkerCrashedError",
    "WorkerStartError",
)


class AmorsizeError(Exception):
    """The base of what this library itself raises once a call has begun."""


class WorkerCrashedError(AmorsizeError, BrokenProcessPool):
    """A worker process died while it ran an item.

    `index` is the position of that item in the input (`None`: the worker died between items), `exitcode` is the
    exit code of the process, negative for a signal, as in `multiprocessing.Process` (`None`: unknown), `pid` the
    process that died, `output` the stacks of its threads as `faulthandler` wrote them ("" if it could not).
    """

    def __init__(
        self,
        message: str,
        *,
        index: int | None = None,
        exitcode: int | None = None,
        pid: int | None = None,
        output: str = "",
    ) -> None:
        super().__init__(message)
        self.index = index
        self.exitcode = exitcode
        self.pid = pid
        self.output = output


class ItemTimeoutError(AmorsizeError, TimeoutError):
    """An item ran longer than `item_timeout`: its worker was killed, or, of a coroutine function, its task cancelled.

    `index` is the position of that item in the input, `seconds` the limit that it was given.
    """

    def __init__(self, message: str, *, index: int | None = None, seconds: float | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.seconds = seconds


class WorkerStartError(AmorsizeError):
    """A worker could not be started: its start took too long, its initializer raised, or it died at once.

    `transient`: whether another try may go better, since it died or the system refused it something; it was tried
    several times then.
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class UnpicklableError(AmorsizeError, TypeError):
    """A function, an item or a result cannot be pickled, or cannot be unpickled on the other side.

    `subject` is "function", "item" or "result"; `path` leads to the attribute that fails, for example
    `fn.keywords['client'].socket`.
    """

    def __init__(self, message: str, *, subject: str = "item", path: str = "") -> None:
        super().__init__(message)
        self.subject = subject
        self.path = path


class InputError(AmorsizeError):
    """The iterable of input raised while it was read; its own exception is the `__cause__`.

    `index` is the number of items that were read before.
    """

    def __init__(self, message: str, *, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


class RemoteError(AmorsizeError):
    """Stands for an exception of the worker that cannot be pickled, or must not reach an event loop as itself.

    `SystemExit`, `KeyboardInterrupt` and `CancelledError` raised by a worker's function are of the second kind:
    raised bare in the caller's task they would end the program or look like its own cancellation.
    `type_name` is the qualified name of the original class.
    """

    def __init__(self, message: str, *, type_name: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name


class ExecutorClosedError(AmorsizeError, RuntimeError):
    """The executor is closed, was never opened, or belongs to another event loop."""


class ExecutorSaturatedError(AmorsizeError):
    """The executor has as many calls as its `max_pending` allows; nothing of this one was started.

    `pending` is how many it has, waiting or running, `max_pending` how many it takes, and `retry_after` the seconds
    after which another try may go better, at least 1: an estimate from how long recent calls took.
    """

    def __init__(self, message: str, *, pending: int = 0, max_pending: int = 0, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.pending = pending
        self.max_pending = max_pending
        self.retry_after = retry_after


class RemoteTraceback(AmorsizeError):  # noqa: N818 - the name that concurrent.futures gives it; it is no error
    """The traceback as the worker saw it, as text; the `__cause__` of the exception that came from there."""

    def __str__(self) -> str:
        """Give the worker's traceback on lines of its own, as `concurrent.futures` prints it."""
        return f'\n"""\n{self.args[0]}"""'
