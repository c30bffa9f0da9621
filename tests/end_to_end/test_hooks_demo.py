"""The eight demonstrations of the hooks' example, each with what it is to show; and the code of the page on hooks."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "hooks_demo.py"
PAGE = ROOT / "docs" / "hooks.md"

once = pytest.mark.asyncio(loop_factories=["asyncio"])
# What hooks do on the other loop is asked elsewhere, without the demonstrations' own waits.


@pytest.fixture
def demo(monkeypatch):
    """The example as a module that workers find, too."""
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    spec = importlib.util.spec_from_file_location("hooks_demo", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "hooks_demo", module)
    spec.loader.exec_module(module)
    return module


@once
async def test_progress_comes_in_steps_and_ends_at_a_hundred(demo, executor, capsys):
    """The number of workers is told first, and the last report is the whole of it."""
    reports = await demo.progress(executor)

    assert reports[-1] == (100.0, 100, 100)
    assert len({percent for percent, _, _ in reports}) >= 2
    assert reports == sorted(reports)
    assert "100 files for 2 workers" in capsys.readouterr().out


@once
async def test_metrics_agree_with_the_clock(demo, executor):
    """The elapsed time is that between the beginning and the end, as the wall clock has it."""
    kept = await demo.metrics(executor)

    assert kept["total_items"] == kept["items_completed"] == 200
    assert (kept["n_jobs"], kept["chunksize"]) == (2, 1)
    wall = kept["end_time"] - kept["start_time"]
    assert abs(kept["elapsed_time"] - wall) < 0.05 * wall
    assert kept["throughput"] == pytest.approx(200 / kept["elapsed_time"])


@once
async def test_timing_has_both_ends_of_the_run(demo, executor):
    """The beginning is at 0."""
    times = await demo.timing(executor)

    assert list(times) == ["pre_execute", "post_execute"]
    assert times["pre_execute"] == 0.0
    assert times["post_execute"] > 0


@once
async def test_errors_of_hooks_and_of_items_are_kept_apart(demo, executor, caplog):
    """A broken hook costs no result; a missing file is one failed item, with the worker's traceback."""
    healthy, missing = await demo.errors(executor)

    assert [len(trouble.results) for trouble in (healthy, missing)] == [50, 50]
    assert [trouble.hook_errors for trouble in (healthy, missing)] == [{"pre_execute": 1}] * 2
    assert healthy.item_errors == []
    [(error, text)] = missing.item_errors
    assert isinstance(error, FileNotFoundError)
    assert "in shrink" in text
    assert caplog.text.count("this hook is broken") >= 2


@once
async def test_monitoring_gets_four_numbers(demo, executor):
    """With their tags, in order."""
    client = await demo.monitoring(executor)

    assert [(name, set(tags)) for name, _, tags in client.sent] == [
        ("parallel_execution.started", {"n_jobs", "chunksize"}),
        ("parallel_execution.completed", {"n_jobs", "items"}),
        ("parallel_execution.duration_seconds", set()),
        ("parallel_execution.throughput", {"unit"}),
    ]
    assert client.sent[1][2] == {"n_jobs": 2, "items": 100}
    assert all(value > 0 for _, value, _ in client.sent)


@once
async def test_throughput_is_reported_once(demo, executor):
    """At the end."""
    rates = await demo.throughput(executor)

    assert len(rates) == 1
    assert rates[0] > 0


@once
async def test_the_dashboard_goes_from_pending_to_completed(demo, executor):
    """And has its eleven numbers then."""
    board = await demo.dashboard(executor)

    assert board.history == ["pending", "running", "completed"]
    assert board.status == "completed"
    assert set(board.metrics) == {
        *("n_jobs", "chunksize", "total_items", "start_time", "executor_type", "estimated_speedup"),
        *("end_time", "duration", "items_completed", "throughput", "completion_percent"),
    }
    assert board.metrics["completion_percent"] == 100
    assert board.metrics["items_completed"] == board.metrics["total_items"] == 150


@once
async def test_hanging_hooks_hold_neither_the_run_nor_the_others_up(demo, executor, caplog):
    """Good hooks of both colours see every chunk, in order; the two that hang are found out, and named in the log."""
    release = threading.Event()
    try:
        seen = await demo.side_by_side(executor, release)
    finally:
        release.set()

    assert len(seen.results) == 60
    assert seen.awaited == seen.plain == list(range(len(seen.plain)))
    assert len(seen.plain) > 2
    assert seen.hooks["hangs_in_a_thread"]["timeouts"] == seen.hooks["hangs_in_a_thread"]["calls"] == 1
    assert seen.hooks["hangs"]["timeouts"] == seen.hooks["hangs"]["calls"] >= 1
    assert "still running after 0.1 s" in caplog.text
    assert "(hangs_in_a_thread)" in caplog.text


def test_the_example_ends_at_once_though_a_hook_hangs():
    """As a script: it shows all eight, says which hook hangs, and leaves with 0."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert [number for number in "12345678" if f"\n{number} " in f"\n{done.stdout}"] == list("12345678")
    assert "(hangs_in_a_thread)" in done.stdout
    assert len(done.stdout.splitlines()) <= 30
    assert time.monotonic() - began < 60


def blocks():
    """The Python code of the page, block by block, with the line that each begins at."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [pytest.param(match[1], id=f"line {text[: match.start()].count(chr(10)) + 1}") for match in found]


@pytest.mark.parametrize("code", blocks())
def test_the_code_of_the_page_runs(code, tmp_path):
    """Each block by itself, as a script: every promise in it is an assertion."""
    script = tmp_path / "block.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )

    assert (done.returncode, done.stderr) == (0, "")
