"""The examples as their reader meets them: run as scripts, and, for the quickstart, compared with a plain loop."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from amorsize_async import HookEvent, HookManager, execute_async

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted({*EXAMPLES.glob("*.py")} - {*EXAMPLES.glob("*_service.py"), EXAMPLES / "hooks_demo.py"})
# Services do not end and need a web framework: tests/services runs them; test_hooks_demo.py has that of hooks.
WORDS = {"streaming": "the source was closed: True", "async_functions": "answers: True"}
# What two of them find out about themselves: the input without end was closed, and the server gave workers the answers
# that it gave to the loop, in their order.
SECONDS = 120

once = pytest.mark.asyncio(loop_factories=["asyncio"])
# The reader runs it on one loop.


@pytest.fixture
def quickstart(monkeypatch):
    """The quickstart, as a module that workers find, too."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location("quickstart", EXAMPLES / "quickstart.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "quickstart", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def scripts():
    """All of them, two at a time."""

    def run(path):
        return subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=SECONDS, check=False)

    with ThreadPoolExecutor(2) as threads:
        return dict(zip(SCRIPTS, threads.map(run, SCRIPTS), strict=True))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_runs_as_a_script_and_says_something(scripts, path):
    """An example exits with 0, writes a few lines and no complaint, and no progress line where there is no terminal."""
    done = scripts[path]

    assert (done.returncode, done.stderr) == (0, "")
    assert 3 <= len(done.stdout.splitlines()) <= 30
    assert "\r" not in done.stdout
    assert WORDS.get(path.stem, "") in done.stdout


@once
async def test_quickstart_measures_what_a_plain_loop_does(quickstart):
    """The results are those of a loop, in order, for some of the standard library."""
    files = quickstart.standard_library()[::20]
    expected = await asyncio.to_thread(lambda: [quickstart.measure(path) for path in files])

    results, report = await quickstart.main(files)

    assert results == expected
    assert (report.items, report.failed, report.status) == (len(files), 0, "ok")


@once
async def test_numbers_of_its_report_add_up(quickstart):
    """Items, chunks, seconds and bytes are the same, whether summed over the chunks or read from the report."""
    files = quickstart.standard_library()[::20]
    seen, hooks = [], HookManager()
    hooks.register(HookEvent.ON_CHUNK_COMPLETE, seen.append, mode="inline")

    _, report = await execute_async(quickstart.measure, files, hooks=hooks, return_report=True)

    assert report.items == report.total_items == len(files) == sum(chunk.chunk_size for chunk in seen)
    assert report.chunks == len(seen)
    assert report.items == sum(report.workers.values())
    assert report.work_seconds == pytest.approx(sum(chunk.chunk_time for chunk in seen), rel=0.01)
    assert 0 < report.work_seconds <= report.elapsed * len(report.workers)
    assert report.bytes_in == sum(chunk.metadata["bytes_in"] for chunk in seen) > 0
    assert report.bytes_out == sum(chunk.metadata["bytes_out"] for chunk in seen) > 0


@pytest.mark.parametrize("text", ["def broken(:", "x = '''", "\0", "if x:\n  y\n z"], ids=repr)
def test_file_that_does_not_parse_is_a_result(quickstart, tmp_path, text):
    """Bad files are told as values: one of them does not end the run over all the others."""
    path = tmp_path / "bad.py"
    path.write_text(text)

    measured = quickstart.measure(path)

    assert measured.problem
    assert measured.lines == 0
