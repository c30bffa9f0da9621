"""Which place the next chunk gets: without a loop, and at a time of the test's choice."""

from __future__ import annotations

import math

import pytest

from amorsize_async._sharing import Share
from amorsize_async.backends.choice import are_full, best_place
from amorsize_async.backends.place import Place

NOW = 100.0


def a_place(load=0, **fields):
    """A place that is there, with so many chunks."""
    return Place(load=load, **{"executor": object(), **fields})


def busy_until(end, **fields):
    """A place with one chunk, of which it is known when it will be done."""
    place = a_place(1, steady=True, **fields)
    place.agenda.add(end - NOW + 1, NOW - 1)
    return place


def chosen(places, share=None, *, alone=True):
    """The number of the place that is chosen, and when to ask again."""
    share = Share(9, steady=True) if share is None else share
    place, at = best_place(places, share, alone=alone, now=NOW)
    return None if place is None else places.index(place), at


def test_the_least_loaded_place_is_chosen_for_its_width():
    """A wide one takes as many as it is wide."""
    assert chosen([a_place(1), a_place(0)]) == (1, 0.0)
    assert chosen([a_place(3, width=4), a_place(1, width=4)]) == (1, 0.0)
    assert chosen([a_place(4, width=4)], Share(9)) == (None, math.inf)


@pytest.mark.parametrize(
    "unfit",
    [a_place(executor=None), a_place(worn=True), a_place(1), busy_until(NOW, left=3)],
    ids=["not there", "worn", "busy with who knows what", "busy, and limited"],
)
def test_what_cannot_take_it_is_passed_over(unfit):
    """For ever, as far as anybody knows; it is asked again when something ends."""
    assert chosen([unfit]) == (None, math.inf)
    assert chosen([unfit, a_place()]) == (1, 0.0)


def test_a_chunk_waits_behind_another_shortly_before_that_is_done():
    """And tells until when there is nothing to choose."""
    soon, later = busy_until(NOW + 0.005), busy_until(NOW + 10)

    assert chosen([later, soon])[0] == 1
    place, at = chosen([later])
    assert place is None
    assert NOW < at < NOW + 10


def test_nothing_waits_behind_another_where_others_have_chunks_or_its_cost_is_not_known():
    """A small call would wait for it."""
    places = [busy_until(NOW)]

    assert chosen(places) == (0, pytest.approx(NOW, abs=1.0))
    assert chosen(places, alone=False) == (None, math.inf)
    assert chosen(places, Share(9, steady=False)) == (None, math.inf)


def test_no_share_gets_more_places_than_its_limit():
    """One that it has is none more."""
    mine, others = busy_until(NOW), a_place()
    share = Share(1, steady=True)
    share.take(mine)

    assert chosen([mine, others], share)[0] == 0


def test_places_are_full_when_none_takes_one_more_from_whoever_asks():
    """Behind another only where one execution is alone."""
    assert not are_full([a_place(0), a_place(2)], alone=False)
    assert are_full([a_place(1), a_place(2)], alone=False)
    assert not are_full([a_place(1)], alone=True)
    assert are_full([a_place(2)], alone=True)
