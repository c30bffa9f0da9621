"""The benchmarks' runner: it asks, prints and writes what it found; the numbers themselves are no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments):
    """Run the benchmarks as their reader does."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_question_is_answered_on_paper_and_as_json(tmp_path):
    """The smallest question gives a table, promises that were kept or missed, and the same for a program."""
    file = tmp_path / "answers.json"

    done = run("start", "--quick", "--repeat", "1", "--json", str(file))

    assert (done.returncode, done.stderr) == (0, "")
    assert "second call, warm" in done.stdout
    document = json.loads(file.read_text())
    assert set(document) == {"package", "machine", "load", "workers", "rounds", "quick", "answers"}
    [answer] = document["answers"]
    assert set(answer) == {"question", "about", "seconds", "tables", "promises", "numbers"}
    assert {"text", "value", "limit", "at_least", "kept"} == set(answer["promises"][0])


@pytest.mark.parametrize("arguments", [["nonsense"], ["--repeat", "0"]], ids=" ".join)
def test_bad_command_line_is_refused(arguments):
    """A question that is not there, or no rounds at all, ends with a message that says what would do."""
    done = run(*arguments)

    assert done.returncode == 2
    assert "there are against_peers, hooks, start" in done.stderr or "at least 1" in done.stderr
