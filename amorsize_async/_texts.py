"""What an exception says, as text, whatever its own code does: `__str__` is the user's. Standard library only."""

from __future__ import annotations

import traceback
from types import TracebackType

__all__ = ("message_of", "traceback_of")


def message_of(error: object) -> str:
    """`str(error)`, or a remark that it has none."""
    try:
        return str(error)
    except BaseException as cause:  # noqa: BLE001 - user code; an error about an error would hide the first one
        return f"<its text cannot be made: {type(cause).__name__}>"


def traceback_of(error: BaseException, frames: TracebackType | None = None) -> str:
    """The traceback as Python prints it, causes included; frames: what to show instead of all of its own, None: all.

    Where its attributes, which may be user code, cannot be printed, the frames and its type.
    """
    shown = error.__traceback__ if frames is None else frames
    try:
        return "".join(traceback.format_exception(type(error), error, shown))
    except BaseException:  # noqa: BLE001 - as above
        return "".join([*traceback.format_tb(shown), type(error).__qualname__])
