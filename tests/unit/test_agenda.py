"""When a worker is handed its next chunk: shortly before it is done with the one it runs."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from amorsize_async.backends.agenda import Agenda
from amorsize_async.backends.place import Place
from amorsize_async.backends.pool import Pool


def test_the_next_chunk_comes_shortly_before_the_running_one_is_done():
    """A fifth of its time before, or ten milliseconds."""
    agenda = Agenda()
    agenda.add(0.1, now=5.0)

    assert agenda.next_at(1) == pytest.approx(5.08)
    agenda.add(0.03, now=5.08)
    agenda.done(now=5.1)
    assert agenda.next_at(1) == pytest.approx(5.12)


def test_behind_a_short_chunk_or_one_of_unknown_length_the_next_comes_at_once():
    """The round trip is to be hidden."""
    for seconds in (0.0, 0.005):
        agenda = Agenda()
        agenda.add(seconds, now=5.0)

        assert agenda.next_at(1) < 5.0


def test_nothing_comes_behind_a_chunk_that_is_still_being_packed():
    """Nobody has said yet how long it takes."""
    agenda = Agenda()

    assert agenda.next_at(1) == math.inf
    agenda.add(0.1, now=5.0)
    assert agenda.next_at(2) == math.inf


async def test_a_place_is_given_for_the_next_chunk_when_its_time_has_come():
    """Until then whoever else comes would be served first."""
    place = Place(executor=object())
    pool = Pool("pool", places=[place])
    share = pool.join(None, member=None)
    share.steady = True
    assert await pool.acquire(share) is place

    began = time.monotonic()
    pool.expect(place, 0.2)
    assert await asyncio.wait_for(pool.acquire(share), 10) is place

    assert time.monotonic() - began > 0.15
    pool.leave(share)


async def test_a_chunk_that_ends_sooner_than_expected_makes_room_at_once():
    """A guess is a guess."""
    place = Place(executor=object())
    pool = Pool("pool", places=[place])
    share = pool.join(None, member=None)
    share.steady = True
    await pool.acquire(share)
    pool.expect(place, 3600)
    waiting = asyncio.ensure_future(pool.acquire(share))
    await asyncio.sleep(0)

    pool.release(place, share, None)

    assert await asyncio.wait_for(waiting, 10) is place
    pool.leave(share)
