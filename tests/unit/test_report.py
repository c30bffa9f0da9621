"""The running numbers and the report made from them: plain arithmetic."""

from __future__ import annotations

import dataclasses
import json

from amorsize_async.report import Report, Tally


def tally(**fields):
    """A run of 100 items in 10 chunks by two workers."""
    numbers = {"total": 100, "completed": 100, "items_run": 100, "chunks": 10, "work": 1.8, "bytes_in": 2048}
    return Tally(n_jobs=2, workers={11: 60, 12: 40}, **(numbers | fields))


def report(**fields):
    """The report on it, after one second."""
    return Report.of(tally(**fields), function="f", execution_id="x", status="ok", elapsed=1.0)


def test_speedup_and_efficiency_follow_from_the_work():
    """Work over wall time, and per worker used."""
    assert (report().speedup, report().efficiency) == (1.8, 0.9)


def test_percent_and_remaining_need_a_total():
    """They are 0 while it is unknown, rather than invented."""
    assert (tally(completed=25).percent, tally(completed=25).remaining) == (25.0, 75)
    assert (tally(total=None).percent, tally(total=None).remaining) == (0.0, 0)


def test_an_input_that_tells_too_little_is_never_more_than_done():
    """Some `__len__` lie."""
    assert (tally(total=10, completed=60).percent, tally(total=10, completed=60).remaining) == (100.0, 0)


def test_throughput_is_smoothed_towards_the_present():
    """A steady rate is met, a change is followed."""
    counted = Tally(n_jobs=1)
    for second in range(1, 11):
        counted.count(100, float(second))
    assert 95 < counted.rate < 105
    for second in range(11, 40):
        counted.count(10, float(second))
    assert 9 < counted.rate < 15


def test_replies_of_long_items_that_come_together_are_no_rate_of_their_own():
    """Two workers with items of a second each: their replies come in pairs, a millisecond apart."""
    counted = Tally(n_jobs=2)
    counted.sent(3.0)
    for second in range(4, 24):
        counted.count(1, float(second))
        counted.count(1, second + 0.001)
    assert 1.9 < counted.rate < 2.1


def test_what_limited_the_run_is_what_it_waited_for():
    """Or the loop, if moving the payload took most of the time."""
    assert report(waited={"input": 0.1, "workers": 0.8, "consumer": 0.0}).limited_by == "workers"
    assert report(waited={"input": 0.6, "workers": 0.2, "consumer": 0.0}).limited_by == "input"
    assert report(transfer=0.95, work=0.5).limited_by == "payload"
    assert report(overhead=0.95, work=0.5).limited_by == "parent"


def test_moving_more_than_computing_is_warned_of():
    """With advice."""
    assert "send less" in report(transfer=0.9, work=0.1).warnings[0]
    assert report().warnings == ()


def test_explain_names_the_facts_in_plain_words():
    """A few lines for a person."""
    text = report(failures=[(7, ValueError("secret"))], failed=1, lost=1).explain()

    assert "f: 100 items, 1 failed, 1.00 s (ok)" in text
    assert "2.0 KiB to the workers" in text
    assert "item 7: ValueError" in text
    assert "1 of its workers died" in text
    assert "secret" not in text


def test_a_report_is_plain_data_on_request():
    """For JSON."""
    data = report(failures=[(7, ValueError("secret"))]).to_dict()

    assert json.loads(json.dumps(data))["failures"] == [[7, "ValueError"]]
    assert data["efficiency"] == 0.9


def test_a_notebook_shows_a_report_as_a_table():
    """Its facts, escaped, and nothing that would be loaded from elsewhere."""
    failed = report(failures=[(7, ValueError("secret"))], failed=1)
    html = dataclasses.replace(failed, function="<lambda>")._repr_html_()

    assert "&lt;lambda&gt;" in html
    assert "item 7: ValueError" in html
    assert "2.0 KiB to the workers" in html
    assert not any(word in html for word in ("secret", "<lambda>", "<script", "http", "url("))


def test_failures_are_listed_by_index():
    """Whatever order they came in."""
    assert [index for index, _ in report(failures=[(9, KeyError()), (2, KeyError())]).failures] == [2, 9]


def test_a_report_cannot_be_changed():
    """What crosses a border is frozen and slotted."""
    assert dataclasses.fields(Report)
    assert not hasattr(report(), "__dict__")
