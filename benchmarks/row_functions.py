"""The functions of the matrix's rows, importable by workers; light, so that no row pays for another one's imports."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from .loads import burn

__all__ = (
    "burn_turns",
    "doubled",
    "look_up_and_burn",
    "nap",
    "nap_alone",
    "parsed_and_summarised",
    "sleep",
    "summarised",
    "total",
)

NAP = 0.02
"""Seconds of a waiting item: what a near service takes to answer."""


def burn_turns(turns: int) -> int:
    """Compute for a number of turns that each item tells for itself."""
    return burn(turns, 1)


def parsed_and_summarised(text: str) -> int:
    """Parse a document of JSON and sum it up in one number."""
    return summarised(json.loads(text))


def summarised(document: dict[str, Any]) -> int:
    """Sum a document up in one number."""
    return sum(entry["count"] * len(entry["tags"]) for entry in document["entries"])


def total(array: Any) -> float:
    """An array in, a number out."""
    return float(array.sum())


def doubled(array: Any) -> Any:
    """An array in, a new one of the same size out."""
    return array * 2


def look_up_and_burn(table: Any, turns: int, index: int) -> int:
    """Read one place of a large table, and compute a little."""
    return burn(turns, int(table[index]))


def sleep(item: int) -> int:
    """Wait as a plain function: its worker can do nothing else meanwhile."""
    time.sleep(NAP)
    return item


async def nap(item: int) -> int:
    """Wait as a coroutine: others can run meanwhile."""
    await asyncio.sleep(NAP)
    return item


def nap_alone(item: int) -> int:
    """The coroutine for pools that know plain functions only: a loop of its own for each item."""
    return asyncio.run(nap(item))
