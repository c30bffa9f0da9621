"""Parse and tokenize every file of Python's own standard library in worker processes, and say what was found.

Shows `execute_async` on a plain function, a progress line from a hook, and the report.

    python examples/quickstart.py
"""

from __future__ import annotations

import ast
import asyncio
import io
import sys
import sysconfig
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amorsize_async import HookEvent, HookManager, Report, create_progress_hook, execute_async

# Its test suite is two thirds of the standard library; without it this takes seconds, not a minute.
LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages"}


@dataclass(frozen=True, slots=True)
class Measures:
    """What one file holds. longest: lines and name of its longest function. problem: why it does not parse."""

    path: Path
    lines: int = 0
    functions: int = 0
    nesting: int = 0
    longest: tuple[int, str] = (0, "none")
    problem: str = ""


def measure(path: Path) -> Measures:
    """Measure one file. That it does not parse is a result like any other, not an exception."""
    try:
        with tokenize.open(path) as file:
            text = file.read()
        tree = ast.parse(text)
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (OSError, SyntaxError, ValueError, tokenize.TokenError) as exc:
        return Measures(path, problem=f"{type(exc).__name__}: {exc}")
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(1 + (node.end_lineno or node.lineno) - node.lineno, node.name) for node in functions]
    return Measures(path, len(text.splitlines()), len(functions), deepest(tokens), max(lengths, default=(0, "none")))


def deepest(tokens: Sequence[tokenize.TokenInfo]) -> int:
    """Count how many blocks stand inside each other at most."""
    depth = most = 0
    for token in tokens:
        depth += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
        most = max(most, depth)
    return most


def standard_library() -> list[Path]:
    """Every Python file of the running interpreter's standard library, but for its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(path for path in root.rglob("*.py") if not LEFT_OUT & set(path.relative_to(root).parts))


def show_progress(percent: float, completed: int, total: int) -> None:
    """Write the progress line anew; on a terminal only, so that a pipe or a log file gets none."""
    if sys.stdout.isatty():
        print(f"\r{completed:,} of {total:,} files, {percent:.0f} %", end="\n" * (completed == total), flush=True)


def show(results: Sequence[Measures]) -> None:
    """Print the sums and the records."""
    longest, nested = max(results, key=lambda it: it.longest), max(results, key=lambda it: it.nesting)
    print(f"files             {len(results):,}, {sum(bool(it.problem) for it in results):,} of them do not parse")
    print(f"lines             {sum(it.lines for it in results):,}")
    print(f"functions         {sum(it.functions for it in results):,}")
    print(f"longest function  {longest.longest[0]:,} lines: {longest.longest[1]} in {longest.path.name}")
    print(f"deepest nesting   {nested.nesting} blocks, in {nested.path.name}")


async def main(files: Sequence[Path]) -> tuple[list[Measures], Report]:
    """Measure the files, print what was found, and how it went."""
    hooks = HookManager()
    hooks.register(HookEvent.ON_PROGRESS, create_progress_hook(show_progress, min_interval=0.1))
    results, report = await execute_async(measure, files, hooks=hooks, return_report=True)
    show(results)
    print(report.explain())
    return results, report


if __name__ == "__main__":
    asyncio.run(main(standard_library()))
