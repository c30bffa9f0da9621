"""How the exception of an item gets from a worker to the caller: as itself where that is safe, told of where not.

Both ends of the border use it. Standard library, `_payload`, `_texts` and `errors` only, as all that a worker imports.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from . import _payload
from ._texts import message_of, traceback_of
from .errors import RemoteError, RemoteTraceback, UnpicklableError

__all__ = ("Failure", "failure_of", "kind_of", "received", "travelling", "unloadable_item")

WORKER = f"{__package__}._items"
# The module whose frames stand between the user's function and whoever reads the traceback.


class Failure(NamedTuple):
    """One item that failed: its offset in the chunk, its exception (pickled, if it travels), the traceback as text."""

    offset: int
    exception: BaseException | bytes
    traceback: str


def failure_of(offset: int, exc: BaseException) -> Failure:
    """Note the exception of an item with its traceback, without the worker's own frames on top."""
    frames = exc.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_globals.get("__name__") == WORKER:
        frames = frames.tb_next
    return Failure(offset, exc if _may_be_raised(exc) else _stand_in(exc), traceback_of(exc, frames))


def _may_be_raised(exc: BaseException) -> bool:
    """Whether a coroutine may raise it: what is no `Exception` would end the caller's program, not its call.

    `StopIteration` would come out as another error (PEP 479), and `CancelledError`, no `Exception` either, would look
    like a cancellation of the caller's own task.
    """
    return isinstance(exc, Exception) and not isinstance(exc, StopIteration | StopAsyncIteration)


def travelling(failure: Failure) -> Failure:
    """The failure with its exception as a pickle that was proved to load, or as the pickle of a stand-in."""
    exc = failure.exception
    try:
        data = _payload.dumps(exc)
        if type(_payload.loads(data)) is not type(exc):
            data = _payload.dumps(_stand_in(exc))
    except BaseException:  # noqa: BLE001 - a hostile `__reduce__` or `__init__` may raise anything
        data = _payload.dumps(_stand_in(exc))
    if isinstance(exc, BaseException):
        # Its frames hold the items, and ours among them the exception: what is in a circle stays for long.
        with suppress(Exception):  # some are frozen
            exc.__traceback__ = None
    return failure._replace(exception=data)


def _stand_in(exc: BaseException | bytes) -> RemoteError:
    name = type(exc).__qualname__
    text = message_of(exc)
    return RemoteError(f"{name}: {text}" if text else name, type_name=name)


def kind_of(cause: BaseException) -> str:
    """What went wrong, for a message of ours: its type, since its text may hold values of the user's.

    A failed import's text names modules only, and is what helps.
    """
    name = type(cause).__name__
    return f"{name}: {message_of(cause)}" if isinstance(cause, ImportError) else name


def unloadable_item(index: int, cause: BaseException) -> UnpicklableError:
    """The error for an item that does not unpickle in the worker."""
    reason = f"item {index} cannot be unpickled in the worker: {kind_of(cause)}"
    way_out = "there is no memory for it" if isinstance(cause, MemoryError) else "make its class importable there"
    error = UnpicklableError(f"{reason}; {way_out}", subject="item", path="item")
    error.__cause__ = cause
    return error


def received(failure: Failure, index: int | None, *, gently: bool = False) -> BaseException:
    """The exception of a failure in the parent: the user's own, with the remote traceback and a note with the index.

    index: None for the initializer's. gently: let other threads run meanwhile.
    """
    whose = "the initializer" if index is None else f"item {index}"
    exc = failure.exception
    if isinstance(exc, bytes):
        try:
            exc = _raisable(_payload.load_pickle(exc, gently=gently))
        except BaseException as cause:  # noqa: BLE001 - it loaded in the worker; here its module may be another
            exc = RemoteError(f"the exception of {whose} cannot be unpickled here: {kind_of(cause)}")
            exc.__context__ = cause
        _annotate(exc, cause=RemoteTraceback(failure.traceback))
    _annotate(exc, note=f"amorsize_async: raised {'by' if index is None else 'for'} {whose}")
    return exc


def _raisable(loaded: object) -> BaseException:
    if not isinstance(loaded, BaseException):
        raise TypeError(f"it came back as a {type(loaded).__qualname__}, which cannot be raised")
    return loaded


def _annotate(exc: BaseException, *, cause: BaseException | None = None, note: str | None = None) -> None:
    """Add a cause or a note, if the exception lets itself be changed: some are frozen, or guard their attributes."""
    try:
        if cause is not None:
            exc.__cause__ = cause
        if note is not None:
            exc.add_note(note)
    except Exception:  # noqa: BLE001, S110 - user code; without the addition it is still the user's exception
        pass
