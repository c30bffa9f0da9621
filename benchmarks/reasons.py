"""Why a row of the matrix is lost where it is: read beside the numbers, shown only when they miss the promise."""

from __future__ import annotations

__all__ = ("REASONS",)

REASONS: dict[str, str] = {
    "trivial": "the loop pickles and unpickles itself, a third of a millisecond at a turn, to be on time for others",
    "documents": "the loop pickles itself, a third of a millisecond at a turn, to be on time; peers do it in threads",
    "texts": "a chunk costs the parent up to 0.6 ms, and so short a run has more of them: they shrink towards its end",
    "10us": "a chunk costs the parent up to 0.6 ms, and the small ones of the end cost as much as the others",
    "generator": "a chunk costs the parent up to 0.6 ms, and the small ones of the end cost as much as the others",
    "1ms": "chunks of 50 ms, smaller towards the end, cost the parent more than the four or eight of the best peer",
    "100ms": "each item is a chunk of its own, handed over when one before it ends; rounds differ by more than that",
    "constant": "sent with each call, 0.5 ms a MiB; mpire and joblib send it once, with old values if it changes",
    "arrays_in": "handing over a chunk of 8 MiB costs the parent as much as copying it",
    "arrays_in_out": "as for arrays in; and the loop copies each result, a MiB at a turn, into memory that is new",
}
"""By the name of the row."""
