"""How a memoryview travels: as a buffer with its format and shape, or not at all. No pickler is made here."""

from __future__ import annotations

import pickle
import sys
from struct import calcsize
from typing import Any

__all__ = ("reduced_view",)

FORMATS = frozenset("cbB?hHiIlLqQnNfd" + ("e" if sys.version_info >= (3, 12) else ""))
# What `memoryview.cast` can give.

OUR_BYTE_ORDER = "<" if sys.byteorder == "little" else ">"
STANDARD_SIZES = {"l": "i", "L": "I"}
# Which format is as wide as the standard says that these are, see `struct`; the others are as wide here as there.


def reduced_view(view: memoryview[Any]) -> Any:
    """What `__reduce__` would give: the view arrives equal, and writable if it is so here.

    An empty one keeps its format, and has one dimension. Raises TypeError for a format that cannot be made over there.
    """
    code = _native(view)
    if code is None:
        raise TypeError(
            f"a memoryview of format {view.format!r} cannot be made in another process; send the object that it is a "
            "view of, or its tobytes()"
        )
    if view.c_contiguous:
        return _view, (pickle.PickleBuffer(view), code, view.shape)
    data = view.tobytes()
    return _view, (data if view.readonly else bytearray(data), code, view.shape)


def _native(view: memoryview[Any]) -> str | None:
    """The format to cast to for a view that equals this one; ctypes writes the byte order into its own."""
    code = view.format
    if code.startswith(OUR_BYTE_ORDER):
        code = STANDARD_SIZES.get(code[1:], code[1:])
    code = code.removeprefix("@")
    return code if code in FORMATS and calcsize(code) == view.itemsize else None


def _view(buffer: Any, code: Any, shape: tuple[int, ...]) -> memoryview[Any]:
    """The other end of `reduced_view`."""
    flat: memoryview[Any] = memoryview(buffer)
    if (code, len(shape)) == (flat.format, flat.ndim):
        return flat
    if 0 in shape:  # `cast` refuses what is empty: an end of what is not
        empty = memoryview(bytearray(calcsize(code))).cast(code)[:0]
        return empty.toreadonly() if flat.readonly else empty
    return flat.cast("B").cast(code) if len(shape) == 1 else flat.cast("B").cast(code, shape)
