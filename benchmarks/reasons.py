"""Why a row of the matrix is lost where it is: read beside the numbers, shown only when they miss the promise."""

from __future__ import annotations

__all__ = ("REASONS",)

REASONS: dict[str, str] = {}
"""By the name of the row."""
