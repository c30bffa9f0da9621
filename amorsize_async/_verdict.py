"""Which items of a dead worker's chunk are to blame, from what it left in its cell; pure."""

from __future__ import annotations

from typing import NamedTuple

from ._chunk import CURRENT, TICKET, Cell
from ._wire import Batch

__all__ = ("Verdict", "verdict")


class Verdict(NamedTuple):
    """What to do about a batch whose worker died: batches to run again, and the item that was alone with it, if any."""

    again: tuple[Batch, ...]
    killed: Batch | None = None


def verdict(batch: Batch, cell: Cell, ticket: int, *, stride: int, is_async: bool) -> Verdict:
    """Judge a death from what the dead worker left in its cell: its last chunk, and the item that it was on."""
    if cell[TICKET] != ticket:  # it died of another chunk, or idle, or never took this one
        return Verdict((batch,))
    if len(batch.items) == 1:
        return Verdict((), killed=batch)
    blamed = _suspects(cell, batch, stride, is_async=is_async)
    if not blamed:  # it was unpickling the items, or pickling the results
        return Verdict(batch.halves())
    items = [batch.part(offset, offset + 1, careful=True) for offset in blamed]
    rest = [
        part for part in (batch.part(0, blamed.start), batch.part(blamed.stop, len(batch.items))) if len(part.items)
    ]
    return Verdict(tuple(rest), killed=items[0]) if len(items) == 1 else Verdict((*rest, *items))


def _suspects(cell: Cell, batch: Batch, stride: int, *, is_async: bool) -> range:
    """Offsets of the items that the worker may have been on; empty: between items."""
    offset = cell[CURRENT] - 1 - batch.start
    if not 0 <= offset < len(batch.items):
        return range(0)
    width = len(batch.items) if is_async else 1 if batch.exact else stride
    return range(offset, min(offset + width, len(batch.items)))
