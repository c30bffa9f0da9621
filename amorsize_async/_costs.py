"""What chunks cost: of one, smoothed over those of a run, remembered for the next; pure. Nothing is decided here."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

__all__ = ("CostMemory", "Costs", "Observation", "mixed", "sample_of")

SMOOTHING = 0.3
# Weight of the newest chunk in the averages.

PIPE_SECONDS = 0.0002
# The part of a chunk's overhead that is not measured: its reply is read, and the loop takes turns in between.

SMALL_TRANSFER = 0.0002
# Seconds of pickling that say at most how little an item costs: the last chunks of a run may be single items, and what
# they take would be the first guess of the next run.


class Observation(NamedTuple):
    """What one chunk cost: items, worker seconds (wall and CPU), bytes each way, and the loop's own seconds.

    bytes_copied: those of both ways that were not pickled but copied. transfer_seconds: pickling and unpickling, which
    grows with the items. overhead_seconds: all else, which does not.
    """

    items: int
    seconds: float
    cpu_seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_copied: int = 0
    transfer_seconds: float = 0.0
    overhead_seconds: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of both ways."""
        return self.bytes_in + self.bytes_out


class Costs(NamedTuple):
    """Smoothed costs: seconds, bytes each way and pickling seconds per item, parent seconds per chunk.

    item_copied: bytes per item, of both ways, that are not pickled but copied. common: bytes of a chunk, both ways,
    whatever is in it, which the others leave out; see `_common_cost`.
    """

    item_seconds: float
    item_bytes_in: float = 0.0
    item_bytes_out: float = 0.0
    item_transfer: float = 0.0
    item_copied: float = 0.0
    chunk_overhead: float = PIPE_SECONDS
    common: float = 0.0


def sample_of(seen: Observation, common: float, *, is_async: bool) -> Costs:
    """The costs as one chunk shows them; is_async: its items ran at once, so that only their CPU time adds up.

    Of what it took to move, each item has its part of the bytes that are not common, and of the seconds as much: two
    chunks differ in seconds by chance.
    """
    size = max(1, seen.size)
    own = (1 - min(1.0, common / size)) / seen.items
    return Costs(
        (seen.cpu_seconds if is_async else seen.seconds) / seen.items,
        seen.bytes_in * own,
        seen.bytes_out * own,
        seen.transfer_seconds * (1 - seen.bytes_copied / size) * own,
        seen.bytes_copied / seen.items,
        PIPE_SECONDS + seen.overhead_seconds,
        common,
    )


def mixed(before: Costs | None, seen: Observation, *, is_async: bool) -> Costs:
    """The moving average; the first chunk after a guess from an earlier run counts like any other.

    Where so little was to be pickled that its cost is mostly that of any chunk, an item's can only fall.
    """
    if before is None:
        return sample_of(seen, 0.0, is_async=is_async)
    sample = sample_of(seen, before.common, is_async=is_async)
    costs = Costs._make([old + SMOOTHING * (new - old) for old, new in zip(before, sample, strict=True)])
    if seen.transfer_seconds >= SMALL_TRANSFER:
        return costs
    return costs._replace(item_transfer=min(before.item_transfer, sample.item_transfer))


class CostMemory:
    """What the functions of an executor cost when they last ran: the first guess of their next run."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._costs: OrderedDict[bytes, Costs] = OrderedDict()

    def recall(self, digest: bytes) -> Costs | None:
        """The costs of the function with this digest, None if it has not run."""
        return self._costs.get(digest)

    def remember(self, digest: bytes, costs: Costs | None) -> None:
        """Note what a run has learnt; the function that ran longest ago is forgotten first."""
        if costs is not None:
            self._costs[digest] = costs
            self._costs.move_to_end(digest)
            if len(self._costs) > self._limit:
                self._costs.popitem(last=False)
