"""The rows of the matrix: who runs them, what each is about, its load, who runs only a part of it, what is promised."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from . import row_functions as functions
from .contenders import Contender, ExecutorMap, Ours, Serial, TunedExecutorMap
from .loads import Load, burning, next_number, turns_per_second
from .peers import Aiomultiprocess, Mpire, Pebble, Streamable, TunedJoblib, TunedPoolImap, TunedPoolMap

__all__ = ("KINDS", "ROWS", "Row", "heavy_tail")

KINDS: tuple[type[Contender], ...] = (
    Ours,
    Serial,
    TunedPoolMap,
    TunedPoolImap,
    ExecutorMap,
    TunedExecutorMap,
    TunedJoblib,
    Mpire,
    Pebble,
    Aiomultiprocess,
    Streamable,
)
"""Who takes part, the library first."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. about: the load in words. load: makes it, smaller by `scale`. shares: of the items, for slow contenders.

    limit: the most that our time may be of the best peer's. efficiency: the least, None where work is not what counts.
    cold: whether starts from nothing are timed as well; not where the work would hide them.
    """

    about: str
    load: Callable[[int], Load]
    shares: Mapping[str, float] = field(default_factory=dict)
    limit: float = 1.05
    efficiency: float | None = None
    cold: bool = True


def heavy_tail(items: int, seconds: float) -> list[float]:
    """Seconds of items whose times are spread as in a Pareto distribution of shape 1.5: the quantiles, ascending.

    No chance is in it, so that every run and every contender has the same list, the largest last.
    """
    weights = [(1 - (number + 0.5) / items) ** (-1 / 1.5) for number in range(items)]
    return [seconds * weight / sum(weights) for weight in weights]


def _trivial(scale: int) -> Load:
    return Load("trivial items", next_number, list(range(1_000_000 // scale)))


def _burning(name: str, seconds: float, items: int, *, lazy: bool = False) -> Callable[[int], Load]:
    return lambda scale: Load(name, burning(seconds), list(range(_at_least_few(items // scale))), lazy=lazy)


def _at_least_few(items: int) -> int:
    """A quick run still has something to share out."""
    return max(8, items)


def _heavy(scale: int) -> Load:
    speed = turns_per_second()
    turns = [max(1, round(seconds * speed)) for seconds in heavy_tail(600, 1.2 / scale)]
    return Load("heavy-tailed items, the largest last", functions.burn_turns, turns)


def _document(number: int) -> dict[str, Any]:
    entries = [
        {"id": number * 40 + at, "name": f"entry {at} of {number}", "count": at % 7, "tags": ["red", "green", "blue"]}
        for at in range(48)
    ]
    return {"number": number, "title": f"document {number}", "entries": entries}


def _texts(scale: int) -> Load:
    texts = [json.dumps(_document(number)) for number in range(2_000 // scale)]
    return Load("texts of 4 KiB of JSON", functions.parsed_and_summarised, texts)


def _documents(scale: int) -> Load:
    documents = [_document(number) for number in range(2_000 // scale)]
    return Load("documents sent as dicts", functions.summarised, documents)


def _arrays(count: int) -> list[Any]:
    import numpy as np

    random = np.random.default_rng(1)
    return [random.random(131_072) for _ in range(count)]


def _arrays_in(scale: int) -> Load:
    return Load("arrays of 1 MiB in, numbers out", functions.total, _arrays(200 // scale), fresh=True)


def _arrays_in_out(scale: int) -> Load:
    return Load("arrays of 1 MiB in and out", functions.doubled, _arrays(100 // scale), same=_equal_arrays, fresh=True)


def _equal_arrays(left: Sequence[Any], right: Sequence[Any]) -> bool:
    import numpy as np

    return all(np.array_equal(mine, its) for mine, its in zip(left, right, strict=True))


def _constant(scale: int) -> Load:
    import numpy as np

    table = np.arange((32 << 20) // 8 // scale)
    fn = partial(functions.look_up_and_burn, table, round(2e-3 * turns_per_second()))
    return Load("items of 2 ms with a constant of 32 MiB", fn, list(range(200)))


def _sleeping(scale: int) -> Load:
    return Load(
        "plain functions that sleep 20 ms", functions.sleep, list(range(_at_least_few(32 // scale))), known=_itself
    )


def _awaiting(scale: int) -> Load:
    return Load(
        "coroutines that sleep 20 ms",
        functions.nap,
        list(range(1_000 // scale)),
        plain=functions.nap_alone,
        known=_itself,
    )


def _itself(item: int) -> int:
    return item


_SINGLE_ITEMS = {ExecutorMap.name: 0.04, Aiomultiprocess.name: 0.02}
_SINGLE_ARRAYS = {ExecutorMap.name: 0.25, Aiomultiprocess.name: 0.25}
_SERIAL = {Serial.name: 0.25}
"""Uniform items: a part of them tells what a plain loop takes for all."""

ROWS: dict[str, Row] = {
    "trivial": Row(
        "1,000,000 items, x + 1",
        _trivial,
        {
            ExecutorMap.name: 0.002,
            Aiomultiprocess.name: 0.002,
            TunedJoblib.name: 0.1,
            Mpire.name: 0.05,
            Pebble.name: 0.05,
        },
    ),
    "10us": Row("50,000 items of 10 microseconds", _burning("items of 10 microseconds", 10e-6, 50_000), _SINGLE_ITEMS),
    "1ms": Row("500 items of 1 millisecond", _burning("items of 1 ms", 1e-3, 500), _SERIAL, efficiency=0.95),
    "100ms": Row(
        "16 items of 100 milliseconds", _burning("items of 100 ms", 0.1, 16), _SERIAL, efficiency=0.95, cold=False
    ),
    "heavy_tail": Row(
        "600 items, Pareto-like and ascending: 0.7 ms the first, 80 ms the last",
        _heavy,
        efficiency=1 / 1.1,
    ),
    "texts": Row("2,000 texts of 4 KiB of JSON, parsed and summed up", _texts),
    "documents": Row("2,000 such documents sent as dicts, summed up", _documents),
    "arrays_in": Row("200 arrays of 1 MiB in, a number out", _arrays_in, _SINGLE_ARRAYS, limit=0.5),
    "arrays_in_out": Row("100 arrays of 1 MiB in, as many out", _arrays_in_out, _SINGLE_ARRAYS, limit=0.5),
    "constant": Row(
        "200 items of 2 ms, with an array of 32 MiB bound to the function (an initializer would send it once per pool)",
        _constant,
        {Aiomultiprocess.name: 0.02, ExecutorMap.name: 0.02},
    ),
    "generator": Row(
        "a generator of 50,000 items of 10 microseconds",
        _burning("generated items of 10 microseconds", 10e-6, 50_000, lazy=True),
        _SINGLE_ITEMS,
    ),
    "sleeping": Row("32 items that sleep 20 milliseconds in a plain function", _sleeping, _SERIAL, cold=False),
    "awaiting": Row(
        "1,000 items that await 20 milliseconds", _awaiting, {kind.name: 0.02 for kind in KINDS if not kind.coroutines}
    ),
}
