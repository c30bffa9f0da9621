"""The runner: asks the questions that are named, or all of them; prints and keeps each answer once it is there."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from amorsize_async import AsyncExecutor

from . import machine, plots, questions
from .answers import Answer, Settings, Table, joined
from .records import Record, keep, read

__all__ = ("main",)

LOADED = 0.5
"""CPUs that others may use; beyond it, the reader is told."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says. Returns 0 whatever the numbers are: they are for eyes, not for gates."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["plots"]:
        return plots.main(arguments[1:])
    options = _parsed(arguments)
    rounds = options.repeat or machine.ROUNDS[options.quick]
    settings = Settings(AsyncExecutor().statistics().n_jobs, rounds, options.quick)
    print(f"{machine.described()}, {settings.workers} workers, {rounds} rounds{', quick' if options.quick else ''}")
    for question in options.questions or questions.names():
        parts = [part for part in questions.parts(question) if not (part and options.rows) or part in options.rows]
        _answer(question, parts, settings, options.json)
    return 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    known = questions.names()
    listed = "\n".join(f"  {name:16} {questions.about(name)}" for name in known)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"questions:\n{listed}\n\nplots {'':10} draws what --json wrote, and writes the page: plots --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", metavar="question", help="default: all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep each answer there, too")
    parser.add_argument("--quick", action="store_true", help="smaller loads and fewer rounds: minutes")
    parser.add_argument("--repeat", type=int, metavar="N", help=f"rounds that count (default {machine.ROUNDS[False]})")
    parser.add_argument("--rows", type=_names, default=(), metavar="NAME,...", help="of the matrix (default: all)")
    options = parser.parse_args(arguments)
    for what, asked, there in (
        ("question", options.questions, known),
        ("row", options.rows, questions.parts("matrix")),
    ):
        if unknown := sorted(set(asked) - set(there)):
            parser.error(f"no such {what}: {', '.join(unknown)}; there are {', '.join(there)}")
    if options.repeat is not None and options.repeat < 1:
        parser.error("--repeat takes a number of at least 1")
    try:  # before anything is measured for it
        read(options.json) if options.json else None
    except ValueError as exc:
        parser.error(str(exc))
    return options


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _answer(question: str, parts: Sequence[str], settings: Settings, file: Path | None) -> None:
    """Ask, part by part."""
    print(f"\n== {question}: {questions.about(question)}", flush=True)
    answers: list[Answer] = []
    for part in parts:
        record = _measured(question, replace(settings, part=part))
        if file:
            keep(file, record)
        answers.append(record.answer)
        load = record.conditions.load
        warning = f"; others used {load:.1f} CPUs: a promise that was missed means little" if load > LOADED else ""
        print(f"\n{record.answer.text()}\n\nasked and answered in {record.seconds:.0f} s{warning}", flush=True)
    if len(answers) > 1:
        print("".join(f"\n{table.text()}\n" for table in _common(answers)), flush=True)


def _common(answers: Sequence[Answer]) -> list[Table]:
    """The tables to which every answer has something to say."""
    titles = [{table.title for table in answer.tables} for answer in answers]
    return [table for table in joined(answers).tables if table.title in set.intersection(*titles)]


def _measured(question: str, settings: Settings) -> Record:
    conditions = machine.Conditions.now(settings.workers, settings.rounds, quick=settings.quick)
    began = time.perf_counter()
    answer = asyncio.run(_ask(question, settings))
    seconds = time.perf_counter() - began
    return Record(question, settings.part, questions.about(question), seconds, conditions, answer)


async def _ask(question: str, settings: Settings) -> Answer:
    return await questions.asker(question)(settings)


if __name__ == "__main__":
    sys.exit(main())
