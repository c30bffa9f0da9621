"""What a worker maps of the arenas that its items come in, tried in this process."""

from __future__ import annotations

import os

import pytest

from amorsize_async import _arena, _payload, _stored, _system, _worker_memory
from amorsize_async._chunk import Chunk

pytestmark = pytest.mark.skipif(not _system.has_nameless_files(), reason="there are no files without a name here")


@pytest.fixture
def arena():
    """One that is given up at the end, as are the maps of it."""
    one = _arena.Arena()
    yield one
    _worker_memory.forget_maps()
    one.close()


@pytest.fixture
def maps(monkeypatch):
    """A list that grows with each map that is made."""
    made = []

    def noted(*args, **how):
        made.append(args)
        return map_of(*args, **how)

    map_of = _arena.map_of
    monkeypatch.setattr(_arena, "map_of", noted)
    return made


def sent(arena, *items):
    """A chunk of large items in an arena, as their worker gets it."""
    parcel, _ = _payload.pack_items(list(items), _payload.Packing(out_of_band=True))
    return Chunk(0, 1, b"", None, _stored.stowed(parcel, arena.write), arena=arena.address)


def received(chunk):
    """The items of a chunk, and what tells whether somebody holds one still."""
    parcel, held = _worker_memory.fetched(chunk)
    return _payload.load_parcel(parcel)[0], held


def test_an_arena_stays_mapped_for_its_next_chunk(arena, maps):
    """What is new in it is seen."""
    for number in range(5):
        items, held = received(sent(arena, bytearray([number]) * 200_000))
        assert items == [bytearray([number]) * 200_000]
        del items
        assert not held()

    assert len(maps) == 1


def test_an_arena_that_has_grown_is_mapped_anew(arena, maps):
    """Its items are all seen."""
    for size in (100_000, 3_000_000, 200_000):
        items, held = received(sent(arena, bytearray(size)))
        assert [len(item) for item in items] == [size]
        del items
        assert not held()

    assert len(maps) == 2


def test_a_large_arena_does_not_stay_mapped(arena, maps, monkeypatch):
    """Its memory would stay with it if nobody came to cut it back."""
    monkeypatch.setattr(_arena, "KEPT_BYTES", 100_000)
    for _ in range(2):
        items, held = received(sent(arena, bytearray(200_000)))
        del items
        assert not held()

    assert len(maps) == 2


@pytest.mark.parametrize("part", [slice(None), slice(10)], ids=["an item", "a part of one"])
def test_what_is_held_is_told_and_keeps_what_it_was(arena, maps, part):
    """Whoever holds any part of it: the map goes with it, and is not used again."""
    items, held = received(sent(arena, memoryview(bytearray(b"x" * 200_000))))
    kept = items.pop()[part]
    del items

    assert held()
    assert bytes(kept) == b"x" * len(kept)
    again, held_again = received(sent(arena, memoryview(bytearray(b"y" * 200_000))))
    assert bytes(again[0][:3]) == b"yyy"
    del again
    assert not held_again()
    assert len(maps) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_what_a_forked_process_may_see_counts_as_held(arena):
    """It has a copy of the map, and nobody knows for how long."""
    items, held = received(sent(arena, bytearray(200_000)))
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    del items

    assert held()


def test_only_so_many_arenas_stay_mapped():
    """Those that came last."""
    arenas = [_arena.Arena() for _ in range(_worker_memory.MOST_MAPS + 3)]
    for each in arenas:
        items, held = received(sent(each, bytearray(100_000)))
        del items
        assert not held()

    assert list(_worker_memory._maps) == [each.address for each in arenas[3:]]
    _worker_memory.forget_maps()
    assert not _worker_memory._maps
    for each in arenas:
        each.close()


def test_memory_that_is_given_up_is_free_although_somebody_has_it_mapped(arena):
    """A worker that is stuck cannot keep it, nor can a process that one has forked."""
    sent(arena, bytearray(200_000))
    memory = _arena.map_of(arena.descriptor, private=False)

    arena.give_up()

    assert memory.size() == 0
    memory.close()
