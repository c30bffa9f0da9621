"""The runner: asks the questions that are named, or all of them; prints what they answer, and writes it as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import amorsize_async
from amorsize_async import AsyncExecutor

from . import machine, plots, questions
from .answers import Answer, Settings
from .rows import ROWS

__all__ = ("main",)

ROUNDS, QUICK_ROUNDS = 5, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says. Returns 0 whatever the numbers are: they are for eyes, not for gates."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["plots"]:
        return plots.main(arguments[1:])
    options = _parsed(arguments)
    rounds = options.repeat or (QUICK_ROUNDS if options.quick else ROUNDS)
    settings = Settings(AsyncExecutor().statistics().n_jobs, rounds, options.quick, options.rows)
    load = machine.load()
    print(f"{machine.described()}, {settings.workers} workers, {rounds} rounds{', quick' if options.quick else ''}")
    if load > 0.5:
        print(f"others are using {load:.1f} CPUs of this machine: a promise that is missed now means little")
    answers = [_answered(name, settings) for name in options.questions or questions.names()]
    if options.json:
        document = {
            "package": amorsize_async.__version__,
            "machine": machine.described(),
            "versions": machine.versions(),
            "load": load,
            **_plain(settings),
            "answers": answers,
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
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
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the answers there too")
    parser.add_argument("--quick", action="store_true", help="smaller loads and fewer rounds: minutes")
    parser.add_argument("--repeat", type=int, metavar="N", help=f"rounds that count (default {ROUNDS})")
    parser.add_argument("--rows", type=_names, default=(), metavar="NAME,...", help="of the matrix (default: all)")
    options = parser.parse_args(arguments)
    for what, asked, there in (("question", options.questions, known), ("row", options.rows, list(ROWS))):
        if unknown := sorted(set(asked) - set(there)):
            parser.error(f"no such {what}: {', '.join(unknown)}; there are {', '.join(there)}")
    if options.repeat is not None and options.repeat < 1:
        parser.error("--repeat takes a number of at least 1")
    return options


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _answered(name: str, settings: Settings) -> dict[str, Any]:
    print(f"\n== {name}: {questions.about(name)}\n", flush=True)
    began = time.perf_counter()
    answer = asyncio.run(_ask(name, settings))
    seconds = time.perf_counter() - began
    print(f"{answer.text()}\n\nasked and answered in {seconds:.0f} s", flush=True)
    return {"question": name, "about": questions.about(name), "seconds": seconds, **answer.to_dict()}


async def _ask(name: str, settings: Settings) -> Answer:
    return await questions.asker(name)(settings)


def _plain(settings: Settings) -> dict[str, Any]:
    return {"workers": settings.workers, "rounds": settings.rounds, "quick": settings.quick, "rows": settings.rows}


if __name__ == "__main__":
    sys.exit(main())
