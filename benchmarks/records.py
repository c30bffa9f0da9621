"""What was measured, in JSON files: each answer is kept as soon as it is there; nothing is measured or drawn here.

One rule: a file holds one record of each part of a question, by their names. A record that is measured again takes the
place of the one before, whatever its conditions were; all others stay. Each tells its own conditions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .answers import Answer
from .machine import Conditions

__all__ = ("Record", "keep", "merged", "read")


@dataclass(frozen=True, slots=True)
class Record:
    """One answer, with what must be known to read it.

    question: its name. part: what of the question was asked, a row of the matrix; "" for a question without parts.
    about: what is asked, in a line. seconds: that asking took. conditions: where and how it was measured.
    """

    question: str
    part: str
    about: str
    seconds: float
    conditions: Conditions
    answer: Answer

    @property
    def key(self) -> tuple[str, str]:
        """What a file holds one of."""
        return self.question, self.part

    def to_dict(self) -> dict[str, Any]:
        """As plain data: the answer's keys stand among the others."""
        told = {"question": self.question, "part": self.part, "about": self.about, "seconds": self.seconds}
        return {**told, "conditions": asdict(self.conditions), **self.answer.to_dict()}

    @classmethod
    def of(cls, told: dict[str, Any]) -> Record:
        """From plain data. Raises `KeyError` or `TypeError` for what is none of ours."""
        names = (told["question"], told["part"], told["about"], told["seconds"])
        return cls(*names, Conditions(**told["conditions"]), Answer.of(told))


def merged(kept: Sequence[Record], newer: Record) -> list[Record]:
    """The records of a file once a newer one is in it: in the place of its older self, or at the end."""
    places = {record.key: record for record in kept}
    return [*(places | {newer.key: newer}).values()]


def read(file: Path) -> list[Record]:
    """The records of a file; none if there is no such file. Raises `ValueError` for a file that is none of ours."""
    if not file.exists():
        return []
    try:
        return [Record.of(told) for told in json.loads(file.read_text(encoding="utf-8"))["answers"]]
    except (ValueError, KeyError, TypeError) as exc:
        raise ValueError(f"{file} does not hold answers of these benchmarks ({exc!r}): name another file") from exc


def keep(file: Path, newer: Record) -> None:
    """Put a record into a file, in one step: who reads meanwhile, or is cut off, has the old file or the new one."""
    told = [record.to_dict() for record in merged(read(file), newer)]
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(json.dumps({"answers": told}, indent=2) + "\n", encoding="utf-8")
    beside.replace(file)
