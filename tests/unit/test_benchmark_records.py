"""What the benchmarks keep in files and write on their page; nothing is measured here."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

MODULES = ("__main__", "answers", "machine", "plots", "records", "reasons", "questions", "questions.matrix", "tuning")


@pytest.fixture
def bench(monkeypatch):
    """The modules of the benchmarks; the root of the repository is not on the path of tests."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    found = {name.rpartition(".")[2]: importlib.import_module(f"benchmarks.{name}") for name in MODULES}
    yield SimpleNamespace(**found)
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def record(bench):
    """Make a record of a row that took so many times as long as the best peer."""

    def make(part, ratio=1.0, *, question="matrix", rounds=5, load=0.0):
        versions = {"pebble": "5.2"}
        conditions = bench.machine.Conditions("0.1", "Python 3.11 on Linux", versions, 2, rounds, False, load)
        summary = bench.answers.Table("all rows", ("row", "ratio"), [[part, f"{ratio}"]], ["read on", f"{part}: a row"])
        alone = bench.answers.Table(f"items of {part}", ("contender", "time"), [["ours", "1.00"]])
        promise = bench.answers.Promise(f"{part}: time over the best peer", ratio, 1.05)
        answer = bench.answers.Answer([summary, alone], [promise], [{"row": part, "ratio": ratio}])
        return bench.records.Record(question, part, "Who is quickest?", 1.5, conditions, answer)

    return make


def test_merging_replaces_what_was_measured_again_and_keeps_the_rest(bench, record):
    """The newer record stands in the place of the older one of the same row, whatever their conditions."""
    kept = [record("10us"), record("1ms"), record("10us", question="other")]

    merged = bench.records.merged(kept, record("10us", 2.0, rounds=1))

    assert [(each.question, each.part, each.conditions.rounds) for each in merged] == [
        ("matrix", "10us", 1),
        ("matrix", "1ms", 5),
        ("other", "10us", 5),
    ]


def test_kept_records_are_read_as_they_were(bench, record, tmp_path):
    """A file in a new folder takes one record after the other and gives both back; nothing else is left beside it."""
    file = tmp_path / "new" / "matrix.json"
    written = [record("1ms", 0.5), record("10us", load=0.3)]
    for each in written:
        bench.records.keep(file, each)

    found = bench.records.read(file)

    assert [each.key for each in found] == [("matrix", "1ms"), ("matrix", "10us")]
    assert [json.dumps(each.to_dict()) for each in found] == [json.dumps(each.to_dict()) for each in written]
    assert [*file.parent.iterdir()] == [file]


def test_keeping_that_is_cut_off_leaves_the_file_as_it_was(bench, record, tmp_path, monkeypatch):
    """The old answers stand until the new ones are complete."""
    file = tmp_path / "matrix.json"
    bench.records.keep(file, record("10us"))
    before = file.read_bytes()

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            bench.records.keep(file, record("1ms"))

    assert file.read_bytes() == before


@pytest.mark.parametrize("text", ["[1]", "{}", "not JSON", '{"answers": [{"question": "matrix"}]}'])
def test_file_of_another_kind_is_refused(bench, record, tmp_path, text):
    """A file that holds no answers is named, and stays as it is."""
    file = tmp_path / "matrix.json"
    file.write_text(text)

    with pytest.raises(ValueError, match=r"matrix\.json does not hold answers .* name another file"):
        bench.records.keep(file, record("10us"))

    assert file.read_text() == text


def test_answers_before_a_failure_are_kept(bench, tmp_path, monkeypatch):
    """A question that ends in its second part has its first one in the file by then."""
    file = tmp_path / "matrix.json"

    async def ask(settings):
        if settings.part == "1ms":
            raise KeyboardInterrupt
        return bench.answers.Answer([])

    monkeypatch.setattr(bench.questions, "asker", lambda _name: ask)
    with pytest.raises(KeyboardInterrupt):
        bench.__main__.main(["matrix", "--rows", "10us,1ms", "--json", str(file)])

    assert [each.key for each in bench.records.read(file)] == [("matrix", "10us")]


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def page(bench, record, tmp_path):
    """Write the page from hand-made records, and give its text."""

    def write(*records):
        folder = tmp_path / "benchmarks"
        folder.mkdir()
        told = {"answers": [each.to_dict() for each in records]}
        (folder / "matrix.json").write_text(json.dumps(told))
        bench.plots.main(["--tables-only", "--into", str(folder)])
        return (tmp_path / "benchmarks.md").read_text()

    return write


def test_rows_of_several_runs_stand_in_one_table(page, record):
    """The summary has each row once, in the order of the matrix, its notes once, and the promises of all."""
    text = page(record("1ms", 1.01), record("10us", 2.0))

    assert "### All rows\n\n| row | ratio |\n| --- | --- |\n| 10us | 2.0 |\n| 1ms | 1.01 |\n" in text
    assert "- read on\n- 10us: a row\n- 1ms: a row\n" in text
    assert "### Items of 10us" in text
    assert "### Promises: 1 of 2 kept" in text


def test_rows_of_the_same_conditions_share_their_command(page, record):
    """What others used may differ; who was measured with other rounds has a command of its own."""
    text = page(record("10us", load=0.1), record("1ms", load=0.4), record("texts", rounds=3))

    assert "matrix --rows 10us,1ms --json docs/benchmarks/matrix.json\n" in text
    assert "2 workers, 5 rounds; others used 0.1 to 0.4 CPUs before.\namorsize_async 0.1, pebble 5.2.\n" in text
    assert "matrix --rows texts --repeat 3 --json" in text


def test_whole_matrix_needs_no_names_of_rows(page, record, bench):
    """The command for all rows is the short one."""
    text = page(*map(record, bench.matrix.PARTS))

    assert "nox -s bench -- matrix --json docs/benchmarks/matrix.json\n" in text


# ── what is tried and told ───────────────────────────────────────────────────────────────────────────────────────────


def test_every_reason_belongs_to_a_row(bench):
    """No reason is left of a row that is gone."""
    assert set(bench.reasons.REASONS) <= set(bench.matrix.PARTS)


@pytest.fixture
def tuned(bench, monkeypatch):
    """Tune over sizes that take so many seconds each, by a clock of the test; gives the best and what was tried."""
    now, tried = [0.0], []
    monkeypatch.setattr(bench.tuning, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    async def run(seconds, size):
        tried.append(size)
        now[0] += seconds[size]

    async def tune(seconds):
        best, _ = await bench.tuning.best_of([*seconds], lambda size: run(seconds, size))
        return best, tried

    return tune


async def test_tuning_ends_once_a_size_is_clearly_worse(tuned):
    """From the largest size down, past the quickest one; short times waver, so the better of two counts."""
    best, tried = await tuned({1000: 0.25, 250: 0.22, 63: 0.05, 16: 0.06, 4: 0.1, 1: 0.01})

    assert (best, tried) == (63, [1000, 250, 63, 63, 16, 16, 4, 4])


async def test_tuning_ends_with_its_time_but_not_before_three_sizes(tuned):
    """A load that takes long is tuned over few sizes."""
    best, tried = await tuned({1000: 5.0, 250: 4.0, 63: 3.0, 16: 2.0, 4: 1.0})

    assert (best, tried) == (63, [1000, 250, 63])


@pytest.mark.parametrize(
    ("row", "over", "told"),
    [("10us", 1.2, True), ("10us", 1.04, False), ("arrays_in", 0.9, False), ("arrays_in", 1.1, True)],
)
def test_reason_is_told_only_where_we_lose(bench, row, over, told):
    """Who is quicker than the best peer, or as quick within what is promised, need not say why."""
    assert bool(bench.matrix._reason(row, over)) is told
