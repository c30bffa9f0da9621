"""Writes docs/benchmarks.md and its figures from the JSON files that the questions wrote; nothing is measured here."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .figures import draw

__all__ = ("main", "page")

FOLDER = Path("docs/benchmarks")
ORDER = ("matrix", "fairness", "overhead", "scaling")
"""Of the sections; other questions follow by name."""

HEAD = """# Benchmarks

This page and its figures are written by `nox -s bench -- plots` from the files in `docs/benchmarks/`, which the
command of each section writes. Do not edit it: change the benchmarks, or run them again.

All contenders run in turn in one run, and are compared within a round only: numbers are ratios, and bare times are
those of one machine on one day. Peers are used as their documentation says, and have the best of the settings that were
tried before anything was timed. Ours is as it comes. What is lost stands in the tables like what is won.
"""


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks plots", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help=f"default: all of {FOLDER}/*.json")
    parser.add_argument(
        "--into", type=Path, default=FOLDER, metavar="FOLDER", help="of the figures; the page is beside it"
    )
    parser.add_argument("--tables-only", action="store_true", help="no figures, which need matplotlib")
    options = parser.parse_args(arguments)
    files = options.files or sorted(options.into.glob("*.json"))
    if not files:
        parser.error(f"no JSON files in {options.into}: run a question with --json {options.into}/NAME.json first")
    options.into.mkdir(parents=True, exist_ok=True)
    runs = {file: json.loads(file.read_text(encoding="utf-8")) for file in files}
    figures = {} if options.tables_only else _drawn(runs, options.into)
    text = page(runs, options.into, figures)
    target = options.into.with_suffix(".md")
    target.write_text(text, encoding="utf-8")
    print(f"wrote {target} and {sum(map(len, figures.values()))} figures in {options.into}")
    return 0


def _drawn(runs: dict[Path, dict[str, Any]], folder: Path) -> dict[str, list[Path]]:
    """The figures of each question."""
    answers = [answer for run in runs.values() for answer in run["answers"]]
    return {answer["question"]: draw(answer["question"], answer["numbers"], folder) for answer in answers}


def page(runs: dict[Path, dict[str, Any]], folder: Path, figures: dict[str, list[Path]]) -> str:
    """The page as text, from the documents of the files; the figures of each question stand above its tables."""
    answers = [(file, run, answer) for file, run in runs.items() for answer in run["answers"]]
    known = {question: place for place, question in enumerate(ORDER)}
    answers.sort(key=lambda each: (known.get(each[2]["question"], len(known)), each[2]["question"]))
    return "\n".join([HEAD, *(line for each in answers for line in _section(*each, folder, figures))])


def _section(
    file: Path, run: dict[str, Any], answer: dict[str, Any], folder: Path, figures: dict[str, list[Path]]
) -> Iterator[str]:
    yield f"## {answer['question'].capitalize()}\n\n{answer['about']}\n"
    yield f"```console\n{_command(file, run, answer, folder)}\n```\n"
    libraries = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    size = f"{run['workers']} workers, {run['rounds']} rounds{', quick' if run['quick'] else ''}"
    yield f"{run['machine']}; {size}; others used {run['load']:.1f} CPUs before."
    yield f"amorsize_async {run['package']}, {libraries}.\n"
    for figure in figures.get(answer["question"], []):
        yield f"![{figure.stem}]({folder.name}/{figure.name})\n"
    for table in answer["tables"]:
        yield from _table(table)
    if answer["promises"]:
        yield from _promises(answer["promises"])


def _command(file: Path, run: dict[str, Any], answer: dict[str, Any], folder: Path) -> str:
    options = [answer["question"], *(["--quick"] if run["quick"] else [])]
    options += ["--rows", ",".join(run["rows"])] if run["rows"] and answer["question"] == "matrix" else []
    return " ".join(["nox -s bench --", *options, "--json", f"docs/{folder.name}/{file.name}"])


def _table(table: dict[str, Any]) -> Iterator[str]:
    yield f"### {table['title'][:1].upper()}{table['title'][1:]}\n"
    columns, last = [*table["columns"]], len(table["columns"]) - 1
    yield _line(columns)
    yield _line(["---" if at in {0, last} else "---:" for at in range(len(columns))])
    yield from map(_line, table["rows"])
    yield ""
    yield from (f"- {note}" for note in table["notes"])
    yield ""


def _promises(promises: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield f"### Promises: {sum(each['kept'] for each in promises)} of {len(promises)} kept\n"
    yield _line(["promise", "measured", "limit", ""])
    yield _line(["---", "---:", "---:", "---"])
    for each in promises:
        bound = "at least" if each["at_least"] else "at most"
        verdict = "kept" if each["kept"] else "**missed**"
        yield _line([each["text"], f"{each['value']:.2f}", f"{bound} {each['limit']:g}", verdict])
    yield ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
