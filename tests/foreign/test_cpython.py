"""CPython's own executor tests, run against this library through an adapter; the score is printed."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pytest

SUITE = "test.test_concurrent_futures"
HALVES = (
    ("ProcessPoolExecutorTest", "AsCompletedTests", "ProcessPoolShutdownTest"),
    ("WaitTests", "ExecutorDeadlockTest", "InitializerMixin", "FailingInitializerMixin"),
)
"""What two programs run side by side: most of the suite's time is sleep."""

SECONDS = 240
"""A half takes 20 s on two cores. What hangs is ended from outside, with all that it has started."""


@pytest.fixture(scope="module")
def score():
    """Run the suite once, in processes of its own: outcomes of the tests, by part of the suite."""
    with suppress(ImportError):
        if importlib.util.find_spec(SUITE) is not None:
            with ThreadPoolExecutor(len(HALVES)) as threads:
                return {part: rows for half in threads.map(score_of, HALVES) for part, rows in half.items()}
    pytest.skip(f"Python {platform.python_version()} came without its own tests: there is no {SUITE}")


def score_of(names):
    """Run some parts of the suite in a program, and give what it says last."""
    program = f"import cpython_suite; cpython_suite.main(*{names})"
    return json.loads(output_of([sys.executable, "-X", "faulthandler", "-c", program]).splitlines()[-1])


def output_of(command):
    """What a command prints; its last words if it fails, or does not end."""
    places = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, env=places, **pipes) as process:
        try:
            output, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"the suite hung; its last words:\n{process.communicate()[1][-2000:]}")
    if process.returncode:
        pytest.fail(f"the suite ended with exit code {process.returncode}:\n{errors[-2000:]}")
    return output


def table(score):
    """The score, as it would be published: numbers for each part, then the reason for each test that was not run."""
    lines = [f"CPython {platform.python_version()}, {SUITE}, forkserver", f"{'':21}run  passed  not run  seconds"]
    for part, rows in [*score.items(), ("all", [*chain(*score.values())])]:
        counts = Counter(outcome for _, outcome, _, _ in rows)
        ran = counts["passed"] + counts["failed"]
        seconds = sum(spent for _, _, spent, _ in rows)
        lines.append(f"{part:20} {ran:3}  {counts['passed']:6}  {len(rows) - ran:7}  {seconds:7.1f}")
    not_run = [(name, why) for name, outcome, _, why in chain(*score.values()) if outcome != "passed"]
    return "\n".join([*lines, *(f"* {name}: {why.strip().splitlines()[-1]}" for name, why in not_run)])


def test_cpythons_executor_tests_pass(score, capsys):
    """All that are about what an executor does; those about how `ProcessPoolExecutor` does it are named, and why."""
    with capsys.disabled():
        sys.stdout.write(f"\n\n{table(score)}\n\n")

    rows = [*chain(*score.values())]
    failed = [f"{name}\n{why}" for name, outcome, _, why in rows if outcome == "failed"]
    assert not failed, "\n".join(failed)
    assert sum(outcome == "passed" for _, outcome, _, _ in rows) >= 44
