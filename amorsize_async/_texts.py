"""What an exception says, as text, whatever its own code does: `__str__` is the user's. Standard library only."""

from __future__ import annotations

import traceback

__all__ = ("message_of", "traceback_of")


def message_of(error: object) -> str:
    """`str(error)`, or a remark that it has none."""
    try:
        return str(error)
    except BaseException as cause:  # noqa: BLE001 - user code; an error about an error would hide the first one
        return f"<its text cannot be made: {type(cause).__name__}>"


def traceback_of(error: BaseException) -> str:
    """The traceback as Python prints it, causes included."""
    return "".join(traceback.format_exception(error))
