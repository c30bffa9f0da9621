"""Functions over large items, importable by workers; without numpy, but for those that make arrays."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jobs

kept = []


def as_it_came(item):
    """Give back what came, and whether it could be written to."""
    return item, is_writable(item)


def is_writable(item):
    """Whether the memory of an item can be written to; None where the question makes no sense."""
    try:
        return not memoryview(item).readonly
    except TypeError:
        return None


def overwritten(item):
    """Write into an item, and give it back."""
    view = memoryview(item).cast("B")
    view[0] = 255
    return item


def keep(item):
    """Keep an item for ever; gives the first byte of each that was kept so far, to see that it is still the same."""
    kept.append(item)
    return [memoryview(each).cast("B")[0] for each in kept]


def made_of(size_and_byte):
    """Make so many bytes."""
    size, byte = size_and_byte
    return bytes([byte]) * size


def numbers(count):
    """Make a list of so many numbers."""
    return list(range(count))


def raise_numbers(count):
    """Fail with many."""
    raise ValueError(list(range(count)))


def element(array, index):
    """Look something up in a constant."""
    return int(array[index])


def scribble(array, index):
    """Write into a constant; gives what was there, and who did it."""
    before = int(array[index])
    array[index] = -1
    return before, os.getpid()


def private_bytes(array, index):
    """Memory that is this worker's own, after it has read all of a constant; and its pid.

    Not what the kernel calls private: what all workers map is private to the last one that does.
    """
    array.sum()
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    return 1024 * sizes["Anonymous"], os.getpid()


def shared_maps(_item):
    """Nameless files that this process has open or mapped, a line each."""
    return nameless_files()


def nameless_files(pid="self"):
    """Nameless files that a process has open or mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="ascii").splitlines()
    return [line for line in maps if "memfd:" in line] + [target for _, target in _open_files(pid)]


def shared_bytes(pid):
    """Memory of the nameless files that a process has open or mapped: a map of ours has a descriptor."""
    return sum(link.stat().st_blocks * 512 for link, _ in _open_files(pid))


def _open_files(pid):
    """The descriptors of nameless files, and their targets; one that is closed meanwhile is none."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if "memfd:" in target:
            yield link, target


@dataclass
class Part:
    """A part of an item, in an object that may not unpickle for all that a worker knows."""

    values: Any


def part(array):
    """Give a view of an item."""
    return Part(array[:10])


def touch_and_end(pair):
    """Tell by a file that it has begun; end soon after."""
    pair[0].touch()
    time.sleep(0.2)


def touch_and_wait(item):
    """Add an array up; of three, first tell by a file that it has begun, and wait for another file."""
    array, *paths = item
    if paths:
        begun, end = paths
        begun.touch()
        while not end.exists():
            time.sleep(0.005)
    return float(array.sum())


class SlowToGo:
    """Fails as `jobs.fail_until`; it holds an array, and takes its time to be deleted in a worker."""

    def __init__(self, array):
        self.array, self.home = array, os.getpid()

    def __call__(self, path_and_times):
        return jobs.fail_until(path_and_times)

    def __del__(self):
        if os.getpid() != self.home:
            time.sleep(0.2)


def drop_rights():
    """Become nobody: what belongs to the parent cannot be opened any more."""
    import numpy  # noqa: F401, ICN001 - nobody may not be allowed to

    os.setgid(65534)
    os.setuid(65534)


def keep_and_make(pair):
    """Keep an item, and make something much larger; gives the number of descriptors, too."""
    item, size = pair
    kept.append(item)
    return bytes(size), len(list(Path("/proc/self/fd").iterdir()))


def fork_and_keep(array):
    """Leave a child behind that still sees the item after the chunk has ended; gives a pipe's worth of what it saw."""
    path, values = array
    if os.fork() == 0:
        wait = 200
        while not Path(path).exists() and wait:
            time.sleep(0.05)
            wait -= 1
        Path(f"{path}.{os.getpid()}").write_text(str(float(values[0])), encoding="ascii")
        os._exit(0)
    return float(values[0])


def with_constant(constant, fn, item):
    """Call a function beside a constant."""
    assert constant[0] == 1.0
    return fn(item)


def slowly(item):
    """Take a while."""
    time.sleep(0.05)
    return item


TABLE = list(range(100_000))


def beside_a_table(item):
    """Refer to a large object in each result."""
    return item, TABLE
