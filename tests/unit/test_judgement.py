"""What becomes of the items of a chunk whose worker is gone."""

from __future__ import annotations

import pytest

from amorsize_async._deaths import DEATHS_IN_A_ROW, Casualties, Death
from amorsize_async._judgement import Judge
from amorsize_async._verdict import Verdict
from amorsize_async._wire import Batch
from amorsize_async.errors import ItemTimeoutError, WorkerCrashedError
from amorsize_async.policies import RetryPolicy

KILLED = Death(-9)
ITEM = Batch(7, ["seven"])
REST = (Batch(0, list(range(7))), Batch(8, [8]))


def judge(*, deaths=2, retry=None):
    """A judge of an execution with one worker and a limit of half a second."""
    return Judge(Casualties(deaths, 1), retry, 0.5)


def test_innocent_items_run_again_and_the_item_gets_another_chance():
    """The first death may have come from outside."""
    judgement = judge().crashed(Verdict(REST, ITEM), 77, KILLED)

    assert judgement.again[:2] == REST
    assert (judgement.again[2].start, judgement.again[2].exact, judgement.again[2].singly) == (7, True, True)
    assert (judgement.lost, judgement.error, judgement.pieces) == (None, None, 3)


def test_an_item_that_killed_twice_is_given_up():
    """With the error that names it; its neighbours run again all the same."""
    strict = judge()
    strict.crashed(Verdict((), ITEM), 77, KILLED)
    judgement = strict.crashed(Verdict(REST, ITEM), 78, KILLED)

    assert (judgement.again, judgement.lost, judgement.pieces) == (REST, ITEM, 3)
    assert isinstance(judgement.error, WorkerCrashedError)
    assert (judgement.error.index, judgement.error.pid) == (7, 78)


def test_deaths_without_end_end_the_execution():
    """Whatever they are blamed on."""
    strict = judge()
    judgements = [strict.crashed(Verdict(REST), 77, KILLED) for _ in range(DEATHS_IN_A_ROW + 3)]

    assert [judgement.error is None for judgement in judgements] == [True] * (DEATHS_IN_A_ROW + 2) + [False]
    assert judgements[-1].lost is None


def test_an_item_that_was_late_fails_at_once():
    """Time has no outside cause."""
    judgement = judge().ended(Verdict(REST, ITEM), 77, late=True)

    assert (judgement.again, judgement.lost) == (REST, ITEM)
    assert isinstance(judgement.error, ItemTimeoutError)
    assert (judgement.error.index, judgement.error.seconds) == (7, 0.5)


@pytest.mark.parametrize("item", [ITEM, None])
def test_an_item_that_was_only_near_runs_again(item):
    """It had just begun when the blow fell that was meant for the one before."""
    judgement = judge().ended(Verdict(REST, item), 77, late=False)

    assert judgement.again == ((*REST, item) if item else REST)
    assert judgement.lost is None


def test_a_late_item_has_its_attempts():
    """After a wait."""
    judgement = judge(retry=RetryPolicy(attempts=2)).ended(Verdict(REST, ITEM), 77, late=True)

    assert [(batch.start, batch.attempt) for batch in judgement.later] == [(7, 2)]
    assert (judgement.lost, judgement.pieces) == (None, 3)
