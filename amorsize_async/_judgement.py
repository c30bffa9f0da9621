"""Decides what becomes of the items of a chunk whose worker is gone, from what is known of its end; pure."""

from __future__ import annotations

from dataclasses import dataclass

from ._deaths import Casualties, Death, crash_error
from ._retries import second_chances
from ._verdict import Verdict
from ._wire import Batch, FailedItem
from .errors import ItemTimeoutError
from .policies import RetryPolicy

__all__ = ("Judge", "Judgement")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be done: run `again` at once, `later` after a wait, give up `lost` with `error`.

    A `lost` of None with an `error` ends the whole execution.
    """

    again: tuple[Batch, ...] = ()
    later: tuple[Batch, ...] = ()
    lost: Batch | None = None
    error: Exception | None = None

    @property
    def pieces(self) -> int:
        """Pieces that the chunk falls into."""
        return len(self.again) + len(self.later) + (self.lost is not None)


class Judge:
    """Knows one execution's deaths so far, and its rules."""

    def __init__(self, casualties: Casualties, retry: RetryPolicy | None, item_timeout: float | None) -> None:
        self._casualties = casualties
        self._retry = retry
        self._item_timeout = item_timeout

    def __repr__(self) -> str:
        return f"<Judge {self._casualties!r}>"

    def survived(self) -> None:
        """Note that a chunk came back."""
        self._casualties.survived()

    def crashed(self, found: Verdict, pid: int | None, death: Death) -> Judgement:
        """The worker died by itself, or by somebody's hand: an item that it died of gets another chance, or none."""
        item = found.killed
        if self._casualties.too_many():
            return Judgement(
                error=crash_error(pid, None, death, "as all before it did, without one result between them")
            )
        if item is None:
            return Judgement(found.again)
        if self._casualties.is_lost(item.start):
            error = crash_error(pid, item.start, death, f"while it ran item {item.start}")
            return Judgement(found.again, lost=item, error=error)
        return Judgement((*found.again, item.part(0, 1, careful=True)))

    def ended(self, found: Verdict, pid: int | None, *, late: bool) -> Judgement:
        """We ended it, since an item took too long. `late`: it still was on that item when the blow fell."""
        item = found.killed
        if item is None or not late:
            return Judgement(found.again if item is None else (*found.again, item))
        error = ItemTimeoutError(
            f"item {item.start} ran longer than item_timeout={self._item_timeout} s; its worker (pid {pid}) was killed",
            index=item.start,
            seconds=self._item_timeout,
        )
        later = second_chances(self._retry, item, [FailedItem(item.start, error, "")])
        if later:
            return Judgement(found.again, tuple(later))
        return Judgement(found.again, lost=item, error=error)
