"""Writes docs/benchmarks.md and its figures from the records in JSON files; nothing is measured here."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from . import questions
from .answers import Promise, Table, joined
from .figures import draw
from .machine import ROUNDS, Conditions
from .records import Record, read

__all__ = ("main", "page")

FOLDER = Path("docs/benchmarks")
ORDER = ("matrix", "fairness", "overhead", "scaling")
"""Of the sections; other questions follow by name."""

HEAD = """# Benchmarks

This page and its figures are written by `nox -s bench -- plots` from the files in `docs/benchmarks/`, which the
commands of each section write. Do not edit it: change the benchmarks, or run them again. A row of the matrix that is
measured again takes its old place in the file.

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
    sections = _sections(files)
    figures = {} if options.tables_only else {name: _drawn(*each, options.into) for name, each in sections.items()}
    target = options.into.with_suffix(".md")
    target.write_text(page(sections, options.into, figures), encoding="utf-8")
    print(f"wrote {target} and {sum(map(len, figures.values()))} figures in {options.into}")
    return 0


Sections = Mapping[str, tuple[Path, Sequence[Record]]]
"""By question: the file that it stands in, and its records in the order of the question's parts."""


def _sections(files: Sequence[Path]) -> Sections:
    """A question that stands in several files is read from the last of them."""
    found: dict[str, tuple[Path, list[Record]]] = {}
    for file in files:
        for question, records in groupby(sorted(read(file), key=_place), key=lambda record: record.question):
            found[question] = file, [*records]
    known = {question: place for place, question in enumerate(ORDER)}
    return dict(sorted(found.items(), key=lambda each: (known.get(each[0], len(known)), each[0])))


def _place(record: Record) -> tuple[str, int]:
    """Parts that the question no longer has come last."""
    parts = questions.parts(record.question)
    return record.question, parts.index(record.part) if record.part in parts else len(parts)


def _drawn(_file: Path, records: Sequence[Record], folder: Path) -> list[Path]:
    return draw(records[0].question, joined([record.answer for record in records]).numbers, folder)


def page(sections: Sections, folder: Path, figures: Mapping[str, Sequence[Path]]) -> str:
    """The page as text; the figures of each question stand above its tables."""
    texts = (_section(*each, folder, figures.get(name, ())) for name, each in sections.items())
    return "\n".join([HEAD, *(line for text in texts for line in text)])


def _section(file: Path, records: Sequence[Record], folder: Path, figures: Sequence[Path]) -> Iterator[str]:
    first = records[0]
    yield f"## {first.question.capitalize()}\n\n{first.about}\n"
    for alike in _by_conditions(records):
        yield f"```console\n{_command(file, alike, folder)}\n```\n"
        yield from _conditions(alike)
    for figure in figures:
        yield f"![{figure.stem}]({folder.name}/{figure.name})\n"
    answer = joined([record.answer for record in records])
    for table in answer.tables:
        yield from _table(table)
    if answer.promises:
        yield from _promises(answer.promises)


def _by_conditions(records: Sequence[Record]) -> list[list[Record]]:
    """Records that can be told in one line: what others used may differ among them."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(repr(replace(record.conditions, load=0)), []).append(record)
    return [*groups.values()]


def _conditions(alike: Sequence[Record]) -> Iterator[str]:
    common, loads = alike[0].conditions, sorted({f"{record.conditions.load:.1f}" for record in alike}, key=float)
    libraries = "".join(f", {name} {version}" for name, version in common.versions.items())
    size = f"{common.workers} workers, {common.rounds} rounds{', quick' if common.quick else ''}"
    yield f"{common.machine}; {size}; others used {' to '.join(dict.fromkeys([loads[0], loads[-1]]))} CPUs before."
    yield f"amorsize_async {common.package}{libraries}.\n"


def _command(file: Path, alike: Sequence[Record], folder: Path) -> str:
    first, parts = alike[0], [record.part for record in alike]
    options = [first.question]
    if tuple(parts) != questions.parts(first.question):
        options += ["--rows", ",".join(parts)]
    options += _size(first.conditions)
    return " ".join(["nox -s bench --", *options, "--json", f"docs/{folder.name}/{file.name}"])


def _size(conditions: Conditions) -> list[str]:
    quick = ["--quick"] if conditions.quick else []
    usual = ROUNDS[conditions.quick]
    return quick if conditions.rounds == usual else [*quick, "--repeat", str(conditions.rounds)]


def _table(table: Table) -> Iterator[str]:
    yield f"### {table.title[:1].upper()}{table.title[1:]}\n"
    columns, last = [*table.columns], len(table.columns) - 1
    yield _line(columns)
    yield _line(["---" if at in {0, last} else "---:" for at in range(len(columns))])
    yield from map(_line, table.rows)
    yield ""
    yield from (f"- {note}" for note in table.notes)
    yield ""


def _promises(promises: Sequence[Promise]) -> Iterator[str]:
    yield f"### Promises: {sum(each.kept for each in promises)} of {len(promises)} kept\n"
    yield _line(["promise", "measured", "limit", ""])
    yield _line(["---", "---:", "---:", "---"])
    for each in promises:
        bound = "at least" if each.at_least else "at most"
        verdict = "kept" if each.kept else "**missed**"
        yield _line([each.text, f"{each.value:.2f}", f"{bound} {each.limit:g}", verdict])
    yield ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
