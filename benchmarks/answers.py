"""What a question is asked with and what it answers: plain records, and their form as text and as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ("Answer", "Promise", "Settings", "Table", "joined")


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    workers: of each contender. rounds: of each measurement. quick: smaller loads, fewer rounds. part: of the question,
    one of its `PARTS`; "" for a question that has none.
    """

    workers: int
    rounds: int
    quick: bool = False
    part: str = ""


@dataclass(frozen=True, slots=True)
class Promise:
    """A number that the library promises. limit: the most it may be, or the least if `at_least`."""

    text: str
    value: float
    limit: float
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether this run kept it."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        """Say it in one line."""
        bound = "at least" if self.at_least else "at most"
        return f"{'kept  ' if self.kept else 'MISSED'}  {self.text}: {self.value:.2f} ({bound} {self.limit:g})"


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers as text, with the columns' titles, and notes that must be read with them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def text(self) -> str:
        """Draw it: the first column and the last to the left, numbers to the right."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.columns))]
        drawn = [_drawn(line, widths) for line in lines]
        return "\n".join(
            [self.title, drawn[0], "-" * max(map(len, drawn)), *drawn[1:], *(f"* {it}" for it in self.notes)]
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What one question found: tables to read, promises to hold, and the raw numbers for a program."""

    tables: Sequence[Table]
    promises: Sequence[Promise] = ()
    numbers: Sequence[dict[str, Any]] = ()

    def text(self) -> str:
        """Everything but the raw numbers, to be printed."""
        parts = [table.text() for table in self.tables]
        if self.promises:
            parts.append("\n".join(promise.line() for promise in self.promises))
        return "\n\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data: keys `tables`, `promises` (each with `kept`) and `numbers`."""
        promises = [{**asdict(promise), "kept": promise.kept} for promise in self.promises]
        return {"tables": [asdict(table) for table in self.tables], "promises": promises, "numbers": [*self.numbers]}

    @classmethod
    def of(cls, told: dict[str, Any]) -> Answer:
        """From plain data, as `to_dict` gives it; other keys are not read."""
        promises = [{name: value for name, value in each.items() if name != "kept"} for each in told["promises"]]
        return cls(
            [Table(**table) for table in told["tables"]], [Promise(**each) for each in promises], told["numbers"]
        )


def joined(answers: Sequence[Answer]) -> Answer:
    """One answer of several: tables of the same title become one, with the rows and the notes of all."""
    tables: dict[str, Table] = {}
    for table in (table for answer in answers for table in answer.tables):
        first = tables.get(table.title, Table(table.title, table.columns, ()))
        notes = dict.fromkeys([*first.notes, *table.notes])
        tables[table.title] = Table(table.title, table.columns, [*first.rows, *table.rows], [*notes])
    promises = [promise for answer in answers for promise in answer.promises]
    return Answer([*tables.values()], promises, [number for answer in answers for number in answer.numbers])


def _drawn(line: Sequence[str], widths: Sequence[int]) -> str:
    last = len(line) - 1
    cells = [
        cell.ljust(width) if column in {0, last} else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
