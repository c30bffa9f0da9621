"""What a list of objects is while it travels: one pickle, or several where one would take too long at once.

Records only. A large pickle is a bundle, with its large buffers beside it.

What crosses the border, or is made for each chunk, is a named tuple: made in a third of the time that a frozen
dataclass takes, and pickled and unpickled in half of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

__all__ = (
    "Bundle",
    "Parcel",
    "Sliced",
    "bundles_of",
    "changed",
    "copied_size",
    "exchanged",
    "has_bundles",
    "largest_pickle",
    "parcel_size",
)


class Bundle(NamedTuple):
    """A large pickle on its way.

    stream: its bytes, in parts that belong one after the other. buffers: what belongs beside it (PEP 574), in order.
    Each part is bytes here and each buffer a view of bytes; in an arena they say where they lie, and the parts are one.
    """

    stream: Sequence[Any]
    buffers: Sequence[Any] = ()

    @property
    def size(self) -> int:
        """Bytes of it all."""
        return self.stream_size + self.copied

    @property
    def stream_size(self) -> int:
        """Bytes of its stream."""
        return _size(self.stream)

    @property
    def copied(self) -> int:
        """Bytes of it that are only to be copied."""
        return _size(self.buffers)

    def changed(self, change: Callable[[Any], Any]) -> Bundle:
        """The bundle with another thing for each part and buffer."""
        return Bundle(tuple(map(change, self.stream)), tuple(map(change, self.buffers)))


def _size(pieces: Sequence[Any]) -> int:
    return sum([len(piece) if isinstance(piece, bytes) else piece.nbytes for piece in pieces])


class Sliced(NamedTuple):
    """A list in several pickles, each a list of neighbours: others have a turn between two."""

    slices: tuple[bytes | Bundle, ...]


Parcel = bytes | Bundle | Sliced | list[bytes | Bundle]
# A whole list in one pickle or in slices; or one pickle each, so that the good ones arrive when one does not.


def _pickles(parcel: Parcel) -> Sequence[bytes | Bundle]:
    if isinstance(parcel, Sliced):
        return parcel.slices
    return parcel if isinstance(parcel, list) else (parcel,)


def bundles_of(parcel: Parcel) -> list[Bundle]:
    """What is large of a parcel."""
    return [each for each in _pickles(parcel) if isinstance(each, Bundle)]


def has_bundles(parcel: Parcel) -> bool:
    """Whether anything in a parcel is large."""
    return not isinstance(parcel, bytes) and bool(bundles_of(parcel))


def parcel_size(parcel: Parcel) -> int:
    """Bytes of a parcel."""
    if isinstance(parcel, bytes):
        return len(parcel)
    return sum([each.size if isinstance(each, Bundle) else len(each) for each in _pickles(parcel)])


def largest_pickle(parcel: Parcel) -> int:
    """Bytes of the largest of its pickles, what is only to be copied aside."""
    return max(
        [each.stream_size if isinstance(each, Bundle) else len(each) for each in _pickles(parcel)],
        default=0,
    )


def copied_size(parcel: Parcel) -> int:
    """Bytes of a parcel that are only to be copied."""
    if isinstance(parcel, bytes):
        return 0
    return sum([bundle.copied for bundle in bundles_of(parcel)])


def changed(parcel: Parcel, change: Callable[[Any], Any]) -> Parcel:
    """The parcel with another thing for each part and buffer of its bundles."""
    return exchanged(parcel, lambda bundle: bundle.changed(change))


def exchanged(parcel: Parcel, change: Callable[[Bundle], Bundle]) -> Parcel:
    """The parcel with another bundle for each of its own."""
    if isinstance(parcel, bytes):
        return parcel
    if isinstance(parcel, Bundle):
        return change(parcel)
    pickles = [change(each) if isinstance(each, Bundle) else each for each in _pickles(parcel)]
    return pickles if isinstance(parcel, list) else Sliced(tuple(pickles))
