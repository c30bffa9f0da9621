"""What is written into shared memory, and how, tried in this process."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from amorsize_async import _arena, _payload, _stored, _system, _wire
from amorsize_async._parts import give_way

pytestmark = pytest.mark.skipif(not _system.has_nameless_files(), reason="there are no files without a name here")


@pytest.fixture
def arena():
    """One that is given up at the end."""
    one = _arena.Arena()
    yield one
    one.close()


def sliced(items, stowing, *, large):
    """One slice of a parcel that is large or not."""
    return _wire.slice_for(
        items, pickling=_payload.Pickling(out_of_band=True), stowing=stowing, large=large, watch=give_way
    )


def test_only_what_is_large_takes_the_way_through_an_arena(arena):
    """A slice of a small parcel goes in its pickle; of a large one, its stream is one piece, however it was written."""
    stowing = _stored.Stowing(arena.write)

    small = sliced([1, 2, 3], stowing, large=False)
    part_of_large = sliced([1, 2, 3], stowing, large=True)
    large = sliced([f"{number:01000}" for number in range(300)], stowing, large=False)

    assert isinstance(small, bytes)
    assert [len(bundle.stream) for bundle in (part_of_large, large)] == [1, 1]
    assert part_of_large.stream[0].offset + part_of_large.stream[0].nbytes <= large.stream[0].offset
    assert _payload.load_pickle(large.changed(arena.read))[-1] == f"{299:01000}"


@pytest.mark.parametrize(("size", "by_the_system"), [(_stored.LONG - 1, False), (_stored.LONG, True)])
def test_what_takes_long_to_copy_is_written_so_that_others_run(arena, monkeypatch, size, by_the_system):
    """Even where it would be quicker to copy: that holds the interpreter for a millisecond and more."""
    for _ in range(2):
        arena.write(memoryview(bytes(2 * _stored.LONG)), 0)
        arena.rest()
    written, write = [], _stored.write
    monkeypatch.setattr(_stored, "write", lambda *call: (written.append(call), write(*call)))

    arena.write(memoryview(b"y" * size), 0)

    assert bool(written) == by_the_system
    assert arena.read(_stored.Stored(0, size, readonly=True)) == b"y" * size


def test_memory_is_mapped_when_it_is_used_again(arena, monkeypatch):
    """An arena that carries one chunk or two is not worth a map; one that carries many is, of what was written to."""
    made, make = [], _arena.mmap.mmap
    monkeypatch.setattr(_arena.mmap, "mmap", lambda *args, **kwargs: (made.append(args[1]), make(*args, **kwargs))[1])

    for size, maps in [(3000, []), (3000, []), (2000, [3000]), (5000, [3000]), (1, [3000])]:
        arena.write(memoryview(bytes([size % 256]) * size), 0)
        arena.rest()
        assert (arena.room, made) == (max(arena.room, size), maps)

    arena.write(memoryview(b"abc"), 4997)
    assert made == [3000, 5000]
    assert arena.read(_stored.Stored(4996, 4, readonly=True)) == bytes([5000 % 256]) + b"abc"
    assert _stored.read(arena.descriptor, _stored.Stored(4997, 3, readonly=True)) == b"abc"


def test_an_arena_does_without_a_map_where_it_can_have_none(arena, monkeypatch):
    """No address space, say: then the system does the copying, and is asked for a map once a chunk."""
    asked = []

    def refuse(*args, **kwargs):
        asked.append(args)
        raise OSError(errno.ENOMEM, "no address space")

    monkeypatch.setattr(_arena.mmap, "mmap", refuse)
    for _ in range(4):
        arena.write(memoryview(b"x" * 3000), 0)
        arena.write(memoryview(b"y" * 3000), 3000)
        arena.rest()

    assert len(asked) == 2
    assert arena.read(_stored.Stored(2999, 2, readonly=True)) == b"xy"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # pytest has a thread of its own
def test_a_fork_holds_no_memory_of_its_parents(arena):
    """Neither by a descriptor nor by a map; the parent's own is as it was."""
    for _ in range(3):  # it is mapped from its third chunk on
        arena.write(memoryview(b"x" * 5000), 0)
        arena.rest()
    descriptor = arena.descriptor

    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            still_open = os.path.lexists(f"/proc/self/fd/{descriptor}")
            os._exit(still_open or str(arena.address.inode) in Path("/proc/self/maps").read_text(encoding="utf-8"))
        os._exit(2)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    arena.write(memoryview(b"y" * 5000), 0)
    assert bytes(arena.read(_stored.Stored(0, 5000, readonly=True))) == b"y" * 5000
