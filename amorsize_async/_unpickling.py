"""How pickles become objects again: one that stands alone, or one after the other; the unpickler is named here alone.

Standard library, `_parcel` and `_parts` only. Only ever fed by our own child, or by our own parent, over their
private pipe or memory.
"""

from __future__ import annotations

import pickle
from typing import Any

from ._parcel import Bundle
from ._parts import GentleReader, Reader

__all__ = ("Unpickling", "load_pickle", "loads")

loads, Unpickler = pickle.loads, pickle.Unpickler

FRAME = 1 << 16
# Bytes that an unpickler reads at once: others have no turn within them.


class Unpickling:
    """Unpickles what one `Pickling` has made, in the same order. gently: other threads run meanwhile."""

    def __init__(self, *, gently: bool = False) -> None:
        self._file = GentleReader() if gently else Reader()
        self._buffers: list[Any] = []
        self._unpickler = Unpickler(self._file, buffers=iter(self._buffers))

    def load(self, pickled: bytes | Bundle) -> Any:
        """The object of the next pickle; raises whatever its classes raise."""
        if isinstance(pickled, Bundle):
            self._buffers += pickled.buffers
        self._file.refill(_stream_of(pickled))
        return self._unpickler.load()


def load_pickle(pickled: bytes | Bundle, *, gently: bool = False) -> Any:
    """Unpickle a pickle that stands alone. gently: other threads run meanwhile."""
    if gently and (isinstance(pickled, Bundle) or len(pickled) > FRAME):
        return Unpickling(gently=True).load(pickled)
    return loads(_stream_of(pickled), buffers=pickled.buffers if isinstance(pickled, Bundle) else None)


def _stream_of(pickled: bytes | Bundle) -> Any:
    if isinstance(pickled, bytes):
        return pickled
    return pickled.stream[0] if len(pickled.stream) == 1 else b"".join(pickled.stream)
