"""Draws what the answers' raw numbers say, as SVG files; the same numbers give the same bytes."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ("FIGURES", "draw")

OURS = "amorsize_async"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "benchmarks", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
PIXELS_PER_ROW = 0.42
"""Inches, of charts with one line per row."""

Numbers = Sequence[dict[str, Any]]


def draw(question: str, numbers: Numbers, folder: Path) -> list[Path]:
    """Draw the figures of one question into `folder`, and name the files; nothing for a question that has none."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    written: list[Path] = []
    with matplotlib.rc_context(STYLE):
        for name, figure in FIGURES.get(question, {}).items():
            drawn = figure(pyplot, numbers)
            written.append(folder / f"{name}.svg")
            drawn.savefig(written[-1], metadata={"Date": None}, bbox_inches="tight")
            pyplot.close(drawn)
    return written


# ── matrix ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _times(pyplot: Any, numbers: Numbers) -> Any:
    def value(number: dict[str, Any]) -> float:
        return float(number["ratio"])

    figure, axes = _by_row(pyplot, [number for number in numbers if number["contender"] != OURS], value)
    axes.axvline(1, color="black", linewidth=2)
    axes.set_xlabel("time over ours: right of the black line is slower than amorsize_async")
    return figure


def _lags(pyplot: Any, numbers: Numbers) -> Any:
    figure, axes = _by_row(pyplot, numbers, lambda number: max(0.05, float(number["lag_ms"]["p99"])))
    axes.axvline(5, color="black", linestyle="dotted")
    axes.set_xlabel("lag of the event loop, p99, milliseconds; dotted: what is promised")
    return figure


def _by_row(pyplot: Any, numbers: Numbers, value: Callable[[dict[str, Any]], float]) -> tuple[Any, Any]:
    """A chart with one line per row of the matrix and one mark per contender; the scale is logarithmic."""
    rows = list(dict.fromkeys(number["row"] for number in numbers))
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + PIXELS_PER_ROW * len(rows)))
    for at, contender in enumerate(dict.fromkeys(number["contender"] for number in numbers)):
        mine = [number for number in numbers if number["contender"] == contender]
        marker, size = ("D", 50) if contender == OURS else ("osv^P*Xh<>"[at % 10], 28)
        places = [rows.index(number["row"]) for number in mine]
        color = "black" if contender == OURS else f"C{at % 10}"
        axes.scatter([value(number) for number in mine], places, s=size, marker=marker, color=color, label=contender)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return figure, axes


# ── the others ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _waits(pyplot: Any, numbers: Numbers) -> Any:
    figure, axes = pyplot.subplots(figsize=(8, 3.5))
    for number in numbers:
        waits = sorted(1e3 * wait for wait in number["waits"])
        shares = [(at + 1) / len(waits) for at in range(len(waits))]
        axes.step(waits, shares, where="post", label=number["kind"], linewidth=2.5 if number["kind"] == OURS else 1.2)
    axes.set_xscale("log")
    axes.set_xlabel("wait of a small call, milliseconds")
    axes.set_ylabel("share of the calls")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return figure


def _projection(pyplot: Any, numbers: Numbers) -> Any:
    figure, axes = pyplot.subplots(figsize=(8, 3.5))
    for number in numbers:
        points = {int(workers): value for workers, value in number["projected_efficiency"].items()}
        axes.plot(points.keys(), points.values(), marker="o", label=number["contender"])
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(points), [str(workers) for workers in sorted(points)])
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("workers, chunks of 20 ms (a simulation with measured costs)")
    axes.set_ylabel("efficiency")
    axes.legend(frameon=False)
    return figure


def _scaling(pyplot: Any, numbers: Numbers) -> Any:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5))
    colors: dict[str, str] = {}
    for number in numbers:
        style = "-" if number["series"] == numbers[0]["series"] else "--"
        for key, axes in (("seconds", left), ("memory_mib", right)):
            for form, cells in number.get(key, {}).items():
                values = [_of_size(key, int(size), statistics.median(each)) for size, each in cells.items()]
                color = colors.setdefault(form, f"C{len(colors)}")
                label = f"{form}, {number['series']}"
                axes.plot([int(size) for size in cells], values, style, marker="o", color=color, label=label)
    for axes, label in ((left, "microseconds an item"), (right, "MiB that the parent grows by")):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("items")
        axes.set_ylabel(label)
    figure.tight_layout()
    figure.legend(
        *left.get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, frameon=False
    )
    return figure


def _of_size(key: str, size: int, value: float) -> float:
    return value / size * 1e6 if key == "seconds" else max(0.1, value)


FIGURES: dict[str, dict[str, Callable[[Any, Numbers], Any]]] = {
    "matrix": {"matrix-time": _times, "matrix-lag": _lags},
    "fairness": {"fairness": _waits},
    "overhead": {"projection": _projection},
    "scaling": {"scaling": _scaling},
}
"""By question: the figures' names and what draws them."""
