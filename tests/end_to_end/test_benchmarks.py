"""The benchmarks' runner: it asks, prints and writes what it found; the numbers themselves are no test's business."""

from __future__ import annotations

import importlib.util
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
    [answer] = json.loads(file.read_text())["answers"]
    told = {"tables", "promises", "numbers"}
    assert set(answer) == {"question", "part", "about", "seconds", "conditions", *told}
    conditions = {"package", "machine", "versions", "workers", "rounds", "quick", "load"}
    assert set(answer["conditions"]) == conditions
    assert {"text", "value", "limit", "at_least", "kept"} == set(answer["promises"][0])


def test_matrix_compares_one_row_and_its_page_is_written(tmp_path):
    """A row that is asked for gives its table, its promises, and a page made from its file alone."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()

    done = run("matrix", "--quick", "--repeat", "1", "--rows", "sleeping", "--json", str(folder / "matrix.json"))
    drawn = run("plots", "--tables-only", "--into", str(folder))

    assert (done.returncode, drawn.returncode) == (0, 0), done.stderr + drawn.stderr
    assert "ProcessPoolExecutor.map, tuned" in done.stdout
    assert "sleeping: time over the best peer" in done.stdout
    page = (tmp_path / "benchmarks.md").read_text()
    assert "nox -s bench -- matrix --rows sleeping --quick --repeat 1 --json docs/benchmarks/matrix.json" in page
    assert "| amorsize_async | 1.00 |" in page


@pytest.mark.parametrize("arguments", [["nonsense"], ["--repeat", "0"], ["matrix", "--rows", "nonsense"]], ids=" ".join)
def test_bad_command_line_is_refused(arguments):
    """A question that is not there, or no rounds at all, ends with a message that says what would do."""
    done = run(*arguments)

    assert done.returncode == 2
    ways_out = ("there are against_peers, fairness, hooks", "at least 1", "there are trivial, 10us")
    assert any(way_out in done.stderr for way_out in ways_out)


# ── the projection's model ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def simulation(monkeypatch):
    """The module of the model, which needs nothing else; the root of the repository is not on the path of tests."""
    spec = importlib.util.spec_from_file_location("simulation", ROOT / "benchmarks" / "simulation.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "simulation", module)
    spec.loader.exec_module(module)
    return module


def test_simulation_of_one_worker_is_serial(simulation):
    """A parent that costs nothing leaves one worker busy all the time."""
    seen = simulation.simulated(1, 50, 0.02, simulation.Costs(send=0, collect=0))

    assert seen.seconds == pytest.approx(50 * 0.02)
    assert seen.efficiency == pytest.approx(1)


def test_simulation_of_too_many_workers_is_bound_by_the_parent(simulation):
    """When the parent cannot keep up, the time is what it pays for all chunks, and more workers change nothing."""
    costs = simulation.Costs(send=0.001, collect=0.001, latency=0.0005)
    fewer, more = (simulation.simulated(workers, 5_000, 0.02, costs) for workers in (50, 100))

    assert fewer.seconds == pytest.approx(5_000 * 0.002, rel=0.01)
    assert more.seconds == pytest.approx(fewer.seconds, rel=0.01)
    assert fewer.parent > 0.99


def test_simulation_hides_the_round_trip_behind_the_next_chunk(simulation):
    """A second chunk at the worker saves it the wait for the parent; with one chunk at a time, it idles."""
    costs = simulation.Costs(send=0.0001, collect=0.0001, latency=0.005)
    one, two = (simulation.simulated(4, 400, 0.02, costs, ahead=ahead) for ahead in (1, 2))

    assert one.efficiency == pytest.approx(0.02 / (0.02 + 0.01 + 0.0002), rel=0.01)
    assert two.efficiency > 0.98


def test_simulation_runs_fewer_chunks_than_workers(simulation):
    """Who gets no chunk does nothing, and nothing is waited for in vain."""
    seen = simulation.simulated(8, 3, 0.02, simulation.Costs(send=0.001, collect=0.001))

    assert seen.seconds == pytest.approx(0.003 + 0.02 + 0.001)
