"""Notebooks: functions of a cell, the example, and what is drawn below a cell. The kernel is a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.clients import wait_for
from services.kernels import kernel

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"

EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
for cell in notebook.cells:
    for output in cell.get("outputs", ()):
        print(output.get("text", "") + "".join(output.get("data", {})))
"""

BEFORE = """
import time
from amorsize_async import AsyncExecutor, execute_async
from amorsize_async.integrations.notebook import progress, watch

def work(n):
    time.sleep(0.01)
    return 1 // (n % 50)
"""


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """What runs a cell, in a kernel for all tests here: it is its start that takes long."""
    with kernel(tmp_path_factory.mktemp("kernel")) as fresh:
        yield fresh.run


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Workers outlive a cell; what is left is asked when the kernel is ended."""


def test_the_example_notebook_runs_headless(tmp_path):
    """From its first cell to its last; what the cells promise in words is what they print."""
    command = [sys.executable, "-c", EXECUTE, str(NOTEBOOK)]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    assert "35,655 takes 323 steps" in done.stdout
    assert "26,623 is the first with more than 300 steps: 307" in done.stdout
    assert "exit code 1 while it ran item 3" in done.stdout
    assert done.stdout.count("text/html") >= 3


def test_a_function_of_a_cell_runs_under_forkserver_and_spawn(cell):
    """It travels by value: a worker could not import it."""
    code = """
        def double(n):
            return 2 * n
        results = []
        for method in ("forkserver", "spawn"):
            async with AsyncExecutor(2, start_method=method) as executor:
                results.append(await executor.execute(double, range(4)))
        print(results)
    """
    cell(BEFORE)
    assert cell(code.replace("\n        ", "\n")).text == "[[0, 2, 4, 6], [0, 2, 4, 6]]\n"


def test_a_function_of_a_cell_sees_its_globals_and_prints_below_it(cell):
    """Globals as they are when the call begins; what is printed may take a moment, on its way through a pipe."""
    cell(BEFORE)
    cell("def plus(n):\n    print('worker', n, flush=True)\n    return n + more")
    again = "print(await execute_async(plus, [1]))\ntime.sleep(0.1)"
    said = [cell(f"more = {more}\n{again}").text for more in (5, 7)]
    assert ["[6]\n" in said[0], "[8]\n" in said[1]] == [True, True]
    wait_for(lambda: "worker 1\n" in cell(again).text)


@pytest.mark.parametrize("widgets", [False, True], ids=["html", "ipywidgets"])
def test_a_bar_moves_and_ends_as_the_report(cell, widgets):
    """What stays below the cell is the report, whichever way the bar is drawn."""
    cell(BEFORE)
    ran = cell(
        f"r = await execute_async(work, range(1, 101), hooks=progress(widgets={widgets}), return_exceptions=True)"
    )

    assert ran.status == "ok", ran.text
    assert ("application/vnd.jupyter.widget-view+json" in ran.shown[0]) == widgets
    assert "✓ ok" in ran.updates[-1]["text/html"]
    assert "work: 100 items, 2 failed" in ran.updates[-1]["text/plain"]
    moves = [update for update in ran.updates if "<progress" in update["text/html"]]
    assert not moves if widgets else len(moves) >= 3 and "2 failed" in moves[-1]["text/plain"]
    assert cell("import comm; print(len(comm.get_comm_manager().comms))").text == "0\n"


def test_a_bar_is_drawn_no_more_often_than_it_should(cell):
    """At the beginning, at the first and at the last progress, here."""
    cell(BEFORE)
    ran = cell("await execute_async(work, range(1, 40), hooks=progress(every=60, widgets=False))")
    moves = [update for update in ran.updates if "<progress" in update["text/html"]]
    assert 2 <= len(moves) <= 3
    assert 'value="100.0"' in moves[-1]["text/html"]


@pytest.mark.parametrize(
    "run",
    [
        "_ = await execute_async({fails}, hooks=progress(widgets=False))",
        "_ = await watch(executor.start({fails}), widgets=False)",
    ],
    ids=["progress", "watch"],
)
def test_a_bar_counts_every_failure(cell, run):
    """Thousands may come at once, more than wait for a hook, and than a job remembers."""
    cell(BEFORE)
    cell("executor = await AsyncExecutor(2).start()")
    ran = cell(run.replace("{fails}", "lambda n: 1 // 0, range(5000), return_exceptions=True, chunksize=5000"))
    moves = [update for update in ran.updates if "<progress" in update["text/html"]]

    assert "5,000 failed" in moves[-1]["text/plain"]


def test_a_job_is_watched_to_its_end(cell):
    """Its results come out of `watch`, and so does what it raises; watching again shows how it ended."""
    cell(BEFORE)
    cell("executor = await AsyncExecutor(2).start()\njob = executor.start(work, range(1, 40))")
    assert "<progress" in cell("job").shown[0]["text/html"]
    assert cell("print(len(await watch(job, widgets=False)))").text == "39\n"
    assert "39 in" in cell("job").shown[0]["text/html"]
    assert "work: 39 items" in cell("_ = await watch(job, widgets=False)").updates[-1]["text/plain"]
    assert cell("await watch(executor.start(work, [50]))").error == "ZeroDivisionError"
