"""Large items, results and constants: they arrive as they were, hold nobody up, and leave nothing behind."""

from __future__ import annotations

import asyncio
import errno
import gc
import itertools
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import jobs
import large_jobs
from amorsize_async import AsyncExecutor, _arena, _stored, _system, _transport, _wire
from amorsize_async.errors import WorkerCrashedError
from amorsize_async.policies import RetryPolicy
from lag import lag_of_the_loop

MIB = 1 << 20

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has files without a name")


def read_only(array):
    """The same array, not to be written to."""
    array.flags.writeable = False
    return array


ITEMS = {
    "array": lambda: np.arange(50_000.0),
    "a small array": lambda: np.arange(5),
    "read-only array": lambda: read_only(np.arange(50_000)),
    "array by columns": lambda: np.asfortranarray(np.arange(60_000.0).reshape(200, 300)),
    "array with gaps": lambda: np.arange(100_000)[::2],
    "array of objects": lambda: np.array([{"a": 1}, None, "text"] * 9_000, dtype=object),
    "array of records": lambda: np.zeros(9_000, dtype=[("x", "f8"), ("y", "i4")]),
    "bytes": lambda: os.urandom(MIB),
    "bytearray": lambda: bytearray(os.urandom(MIB)),
    "memoryview": lambda: memoryview(bytearray(os.urandom(MIB))),
    "read-only memoryview": lambda: memoryview(os.urandom(MIB)),
    "a small memoryview": lambda: memoryview(b"abc"),
    "memoryview of numbers": lambda: memoryview(np.arange(60_000.0)).cast("B").cast("d", (200, 300)),
    "memoryview with gaps": lambda: memoryview(bytearray(os.urandom(MIB)))[::3],
}


@pytest.mark.parametrize("make", ITEMS.values(), ids=ITEMS.keys())
async def test_what_holds_a_buffer_arrives_as_it_was_both_ways(executor, make):
    """Equal, of the same type and shape, and writable where it was."""
    item = make()

    (back, writable), (again, _) = await executor.execute(large_jobs.as_it_came, [item, item])

    for each in (back, again):
        assert type(each) is type(item)
        if isinstance(item, np.ndarray):
            np.testing.assert_array_equal(each, item)
            assert each.flags.f_contiguous == (item.flags.f_contiguous or item.ndim == 1)
        else:
            assert each == item
        assert large_jobs.is_writable(each) == writable == large_jobs.is_writable(item)


async def test_tables_arrive_as_they_were(executor):
    """Pandas and Arrow hand out their buffers as numpy does."""
    pandas, arrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"n": np.arange(50_000), "x": np.random.default_rng(1).random(50_000)})
    table = arrow.table({"n": np.arange(50_000), "name": ["a", "b"] * 25_000})

    (frame_back, _), (table_back, _) = await executor.execute(large_jobs.as_it_came, [frame, table])

    pandas.testing.assert_frame_equal(frame_back, frame)
    assert table_back.equals(table)


async def test_large_buffers_inside_other_objects_travel_too(executor):
    """Wherever they are: in dictionaries, in closures, in results of functions from `__main__`."""
    offset = np.full(50_000, 3)

    results = await executor.execute(lambda item: {"sum": item["x"] + offset}, [{"x": np.arange(50_000)}] * 3)

    for result in results:
        np.testing.assert_array_equal(result["sum"], np.arange(50_000) + 3)


async def test_a_worker_that_writes_into_its_item_changes_nothing_here(executor):
    """An item is the worker's own."""
    items = [bytearray(100_000) for _ in range(8)] + [np.zeros(100_000, dtype=np.uint8) for _ in range(8)]

    results = await executor.execute(large_jobs.overwritten, items)

    assert all(result[0] == 255 for result in results)
    assert all(item[0] == 0 for item in items)


async def test_a_function_may_keep_what_it_was_given():
    """The memory of a kept item is not used for another one."""
    items = [np.full(200_000, number, dtype=np.uint8) for number in range(30)]

    async with AsyncExecutor(1) as executor:
        results = await executor.execute(large_jobs.keep, items)

    assert results[-1] == list(range(30))


async def test_results_may_be_views_of_their_items(executor):
    """What is sent back does not overwrite what is still to be sent."""
    items = [np.full(100_000, number) for number in range(20)]

    results = await executor.execute(partial(jobs.identity), items, chunksize=5)

    assert [int(result[0]) for result in results] == [int(result[-1]) for result in results] == list(range(20))


async def test_large_results_of_small_items_are_whole(executor):
    """Of any size around the bounds that decide how they travel."""
    sizes = [1, (1 << 14) - 1, 1 << 14, 1 << 16, (1 << 16) + 1, MIB, 4 * MIB + 1, 9 * MIB]

    results = await executor.execute(large_jobs.made_of, [(size, size % 251) for size in sizes])

    assert [(len(result), set(result)) for result in results] == [(size, {size % 251}) for size in sizes]


async def test_results_that_refer_to_one_large_object_travel_together(executor):
    """It is moved once for each chunk, and so there are few: alone, each looks as heavy as the object is."""
    results, report = await executor.execute(large_jobs.beside_a_table, range(1000), return_report=True)

    assert [number for number, _ in results] == list(range(1000))
    assert all(table == large_jobs.TABLE for _, table in results[::100])
    assert report.chunks < 200


async def test_arrays_of_many_sizes_come_home_in_blocks_as_they_were(executor):
    """Neighbours share memory here, and do not overlap."""
    sizes = [3_000, 600_000, 20_000, 5 * MIB, 17, 2 * MIB, 2 * MIB, 100_000] * 3

    results = await executor.execute(np.ones, sizes, chunksize=8)

    for result in results:
        result[:] += 1
    assert [(len(result), result.min(), result.max()) for result in results] == [(size, 2.0, 2.0) for size in sizes]


@linux
async def test_results_that_wait_to_be_read_hold_new_items_back(executor, monkeypatch):
    """Else each chunk would have memory of its own, where workers are quicker than the loop."""
    made = _counted(monkeypatch)
    items = [np.full(MIB // 8, number) for number in range(80)]

    results = await executor.execute(np.negative, items, chunksize=1)

    assert [int(result[0]) for result in results] == [-number for number in range(80)]
    assert len(made) <= 2 * 2 + 2 + 2  # two chunks a worker, as many replies as workers, and those just sent


def _counted(monkeypatch):
    """A list that grows with each file that is made."""
    made = []

    def noted():
        made.append(True)
        return nameless_file()

    nameless_file = _system.nameless_file
    monkeypatch.setattr(_system, "nameless_file", noted)
    return made


@linux
async def test_finding_and_freeing_large_memory_is_left_to_threads(executor, monkeypatch):
    """It takes half a millisecond a MiB, and ten times that where the host has to find it; the loop has others."""
    items = [np.full(MIB // 8, number) for number in range(40)]
    await executor.execute(np.sum, items)  # so that it is known how large they are
    written, freed = [], []
    write, give_up = _stored.write, _arena.Arena.give_up

    def noted_write(descriptor, data, offset):
        new = offset + data.nbytes - os.fstat(descriptor).st_size
        written.append((new, threading.current_thread() is threading.main_thread()))
        write(descriptor, data, offset)

    def noted_give_up(arena):
        freed.append((arena.room, threading.current_thread() is threading.main_thread()))
        give_up(arena)

    monkeypatch.setattr(_stored, "write", noted_write)
    monkeypatch.setattr(_arena.Arena, "give_up", noted_give_up)
    await executor.execute(np.sum, items)

    for seen in (written, freed):
        large = [on_the_loop for size, on_the_loop in seen if size > MIB / 2]
        assert large
        assert not any(large)


# ── many small objects ───────────────────────────────────────────────────────────────────────────────────────────────

DOCUMENTS = [{"number": number, "words": [f"{number} {at}" for at in range(60)]} for number in range(4_000)]


@pytest.fixture
def slices(monkeypatch):
    """The number of items in each slice that was packed at a turn of the loop."""
    packed = []

    def noted(items, **how):
        packed.append(len(items))
        return _wire.slice_for(items, **how)

    monkeypatch.setattr(_transport, "slice_for", noted)
    return packed


async def test_chunks_of_many_objects_are_packed_at_several_turns_of_the_loop(executor, slices):
    """A chunk is dear to hand over, and the loop has others to serve: so chunks are large, and slices small."""
    for _ in range(3):
        results, report = await executor.execute(jobs.identity, DOCUMENTS, return_report=True)

        assert results == DOCUMENTS
    assert len(slices) > 3 * report.chunks
    assert max(slices) < len(DOCUMENTS) / 10


async def test_an_item_that_cannot_be_sent_fails_alone_among_thousands(executor, slices):
    """Whichever slice it is in: the others arrive, each once and in order."""
    await executor.execute(jobs.identity, DOCUMENTS)
    items = [*DOCUMENTS[:3_000], threading.Lock(), *DOCUMENTS[3_000:]]

    results = await executor.execute(jobs.identity, items, return_exceptions=True)

    failed = [index for index, result in enumerate(results) if isinstance(result, Exception)]
    assert slices
    assert failed == [3_000]
    assert results[:3_000] + results[3_001:] == DOCUMENTS


async def test_an_item_that_does_not_unpickle_fails_alone_among_thousands(executor, slices):
    """A worker that cannot read a slice is sent each item by itself, and not the same slices for ever."""
    await executor.execute(jobs.identity, DOCUMENTS)
    items = [*DOCUMENTS[:3_000], jobs.Bomb(), *DOCUMENTS[3_000:]]

    async with asyncio.timeout(20):
        results = await executor.execute(jobs.identity, items, return_exceptions=True)

    failed = [index for index, result in enumerate(results) if isinstance(result, Exception)]
    assert 0 < sum(slices) <= 2 * len(items)
    assert failed == [3_000]
    assert results[:3_000] + results[3_001:] == DOCUMENTS


@pytest.mark.parametrize("way", ["items", "results"])
async def test_an_object_that_thousands_share_travels_once_in_each_chunk(executor, way):
    """However many slices a chunk has: else what each of them costs makes the next ones smaller, and so on."""
    table = {f"row {number}": [number, str(number)] for number in range(3_000)}
    function, items = {
        "items": (jobs.first_of, [(number, table) for number in range(5_000)]),
        "results": (partial(jobs.looked_up, [table]), [0] * 5_000),
    }[way]

    for _ in range(4):
        _, report = await executor.execute(function, items, chunksize=500, return_report=True)

    assert report.chunks == 10
    assert max(report.bytes_in, report.bytes_out) < 2 * 10 * len(pickle.dumps(table))


async def test_a_large_item_among_thousands_of_small_ones_goes_beside_the_loop(executor, slices):
    """Its slice turns out to be large: the chunk is begun anew in a thread."""
    await executor.execute(jobs.identity, DOCUMENTS)
    large = list(range(3_000_000))
    items = [*DOCUMENTS[:3_000], large, *DOCUMENTS[3_000:]]

    async with lag_of_the_loop() as lag:
        results = await executor.execute(jobs.identity, items)

    assert results == items
    assert slices
    assert max(lag) < 0.5


async def test_a_call_that_is_cancelled_while_it_packs_leaves_nothing(executor, monkeypatch):
    """Between two of its slices."""
    await executor.execute(jobs.identity, DOCUMENTS)
    countdown = iter(range(20, 0, -1))

    def cancelling(items, **how):
        if next(countdown, 0) == 1:
            call.cancel()
        return _wire.slice_for(items, **how)

    monkeypatch.setattr(_transport, "slice_for", cancelling)
    call = asyncio.ensure_future(executor.execute(jobs.identity, DOCUMENTS))
    with pytest.raises(asyncio.CancelledError):
        await call

    assert await executor.execute(jobs.identity, DOCUMENTS[:10]) == DOCUMENTS[:10]


# ── constants ────────────────────────────────────────────────────────────────────────────────────────────────────────


@linux
async def test_workers_share_one_copy_of_a_large_constant(executor):
    """What each worker has for itself does not grow by its size."""
    constant = np.ones(64 * MIB // 8)
    small = dict(await _private_bytes(executor, np.ones(1)))

    large = dict(await _private_bytes(executor, constant))

    assert set(small) == set(large)
    assert all(large[pid] - small[pid] < 16 * MIB for pid in large)


async def _private_bytes(executor, constant):
    answers = await executor.execute(partial(large_jobs.private_bytes, constant), range(64), chunksize=1)
    return [(pid, size) for size, pid in answers]


async def test_a_large_constant_is_sent_once(executor):
    """Not with each chunk, and not to each worker."""
    constant = np.arange(4 * MIB)

    results, report = await executor.execute(
        partial(large_jobs.element, constant), range(500), chunksize=5, return_report=True
    )

    assert results == list(range(500))
    assert report.chunks == 100
    assert report.bytes_in < MIB


async def test_what_one_worker_writes_into_a_constant_is_its_own(executor):
    """As with any argument, others do not see it, and neither do we."""
    constant = np.arange(100_000)

    results = await executor.execute(partial(large_jobs.scribble, constant), [7] * 40, chunksize=1)

    pids = {pid for _, pid in results}
    assert [before for before, _ in results].count(7) == len(pids)
    assert constant[7] == 7


async def test_a_closure_over_a_large_list_arrives(executor):
    """It has no buffers: its pickle travels in one piece."""
    numbers = list(range(300_000))

    assert await executor.execute(lambda index: numbers[index], [0, 299_999]) == [0, 299_999]


# ── the loop ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def least_lag(call, expected):
    """The worst lag of a call, in the best of a few runs, since others use the machine too; all as expected."""
    worst = []
    while len(worst) < 4 and min(worst, default=1) >= 0.03:
        gc.collect()
        async with lag_of_the_loop() as lags:
            results = await call()
        assert expected(results)
        worst.append(max(lags))
        del results
    return min(worst)


@pytest.mark.parametrize("way", ["there", "back"])
async def test_a_list_of_millions_does_not_hold_the_loop(executor, way):
    """Pickling one or unpickling it takes 60 ms and more."""
    numbers = list(range(3_000_000))
    fn, items = (len, [numbers]) if way == "there" else (large_jobs.numbers, [3_000_000])
    expected = [3_000_000] if way == "there" else [numbers]

    assert await least_lag(partial(executor.execute, fn, items), expected.__eq__) < 0.03


async def test_an_exception_that_holds_millions_does_not_hold_the_loop(executor):
    """It is unpickled as what a function returns is."""
    numbers = list(range(3_000_000))
    call = partial(executor.execute, large_jobs.raise_numbers, [3_000_000], return_exceptions=True)

    assert await least_lag(call, lambda results: results[0].args == (numbers,)) < 0.03


async def test_large_items_travel_alone(executor):
    """A chunk is bounded in bytes, and what is larger than that by itself has no company."""
    _, report = await executor.execute(len, [bytes(9 * MIB)] * 12, return_report=True)
    assert report.chunks == 12

    _, report = await executor.execute(len, [bytes(5 * MIB) for _ in range(12)], return_report=True)
    assert report.chunks >= 11  # two together show now and then that they have nothing in common


async def test_a_run_that_spends_its_time_on_moving_items_says_so(executor):
    """The report names the payload, and what to do."""
    _, report = await executor.execute(len, [np.zeros(MIB // 8) for _ in range(50)], return_report=True)

    assert "moving the items costs more than computing them" in " ".join(report.warnings)


async def test_what_waits_for_a_slow_consumer_is_bounded_in_bytes(executor):
    """Megabytes for each item fill the window long before its chunks are counted."""
    computed = []

    def items():
        for number in range(400):
            computed.append(number)
            yield (MIB, number % 200)

    async with executor.stream(large_jobs.made_of, items()) as results:
        await anext(results)
        await _settled(computed)

        assert len(computed) < 200


async def _settled(computed):
    """Wait until no more items are taken."""
    before = -1
    while before < len(computed):
        before = len(computed)
        await asyncio.sleep(0.3)


# ── what is left behind ──────────────────────────────────────────────────────────────────────────────────────────────


@linux
@pytest.mark.parametrize("ending", ["ok", "error", "cancelled", "worker killed"])
@pytest.mark.parametrize("size", [MIB, 1], ids=["large constant", "small constant"])
async def test_no_shared_memory_outlives_its_run(executor, size, ending):
    """Neither here nor in the workers, however it ends."""
    before = large_jobs.nameless_files()
    constant = np.ones(size)
    items = [np.full(MIB // 8, 1.0) for _ in range(30)]
    fn = {"ok": np.sum, "error": jobs.raise_value_error, "cancelled": large_jobs.slowly, "worker killed": jobs.die}[
        ending
    ]
    call = executor.execute(partial(large_jobs.with_constant, constant, fn), items)

    if ending == "cancelled":
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, 0.3)
    elif ending == "ok":
        await call
    else:
        with pytest.raises((ValueError, WorkerCrashedError)):
            await call

    gc.collect()
    assert large_jobs.nameless_files() == before
    assert await executor.execute(large_jobs.shared_maps, range(8), chunksize=1) == [[]] * 8


@linux
async def test_the_last_of_several_runs_leaves_no_shared_memory(executor):
    """Workers keep what they have mapped while another run may need it, and no longer."""
    items = [np.full(MIB // 8, 1.0) for _ in range(20)]
    await asyncio.gather(*(executor.execute(np.sum, items) for _ in range(3)), executor.execute(jobs.square, range(50)))

    for worker in set(await executor.execute(jobs.pid_of, range(20), chunksize=1)):
        assert large_jobs.nameless_files(worker) == []


@linux
async def test_results_that_are_views_of_their_items_keep_no_shared_memory(executor):
    """A worker keeps results for a while, in case they do not unpickle; not beyond the last run."""
    results = await executor.execute(large_jobs.part, [np.full(MIB // 8, number) for number in range(4)])

    assert [part.values[0] for part in results] == [0, 1, 2, 3]
    assert await executor.execute(large_jobs.shared_maps, range(8), chunksize=1) == [[]] * 8


@linux
async def test_cancelled_runs_leave_no_memory_to_workers_that_live(tmp_path):
    """They may have it mapped for the next chunk, and other runs go on, maybe for days."""
    async with AsyncExecutor(1, cancel_grace=10) as executor, executor.stream(jobs.square, itertools.count()) as others:
        await anext(others)
        for number in range(5):
            begun = tmp_path / str(number)
            call = asyncio.ensure_future(executor.execute(large_jobs.touch_and_end, [(begun, np.ones(MIB))]))
            while not begun.exists():  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

        (pid,) = executor.statistics().workers
        assert large_jobs.shared_bytes(pid) < 20 * MIB  # two of the five, which are used again


@linux
async def test_what_is_kept_for_chunks_to_come_goes_while_the_last_one_runs(executor, tmp_path):
    """A worker that has nothing to do any more maps nothing of ours."""
    begun, end = tmp_path / "begun", tmp_path / "end"
    items = [(np.ones(MIB),)] * 12 + [(np.ones(MIB), begun, end)]
    call = asyncio.ensure_future(executor.execute(large_jobs.touch_and_wait, items, chunksize=1))

    def is_cleared():
        maps = [large_jobs.nameless_files(pid) for pid in executor.statistics().workers]
        return begun.exists() and not all(maps)

    deadline = time.monotonic() + 10
    while not is_cleared() and time.monotonic() < deadline:  # noqa: ASYNC110 - nor has a map
        await asyncio.sleep(0.01)
    cleared = is_cleared()
    end.touch()

    assert await call == [float(MIB)] * 13
    assert cleared


async def test_a_worker_that_is_worn_while_it_has_still_to_clear_away_is_replaced(tmp_path):
    """Items that are to be tried again would wait for its place for ever."""
    function = large_jobs.SlowToGo(np.ones(MIB))
    paths = [(str(tmp_path / str(number)), 2) for number in range(4)]
    async with AsyncExecutor(1, max_worker_rss=1) as executor:
        retry = RetryPolicy(3, wait_initial=0.01, wait_jitter=0.0)
        call = executor.execute(function, paths, retry=retry, chunksize=4)
        async with asyncio.timeout(20):
            assert len(await call) == 4

        assert executor.statistics().recycled == 3


@linux
def test_the_memory_of_a_killed_parent_is_free_at_once(tmp_path):
    """There is no name that could keep it."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    before = _shared_kilobytes()
    command = [sys.executable, str(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}) as process:
        assert process.stdout.readline().strip() == b"ready"
        assert _shared_kilobytes() - before > 200 << 10
        process.kill()

    deadline = time.monotonic() + 5
    while _shared_kilobytes() - before > 100 << 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _shared_kilobytes() - before < 100 << 10


PROGRAM = """
import asyncio, time
from functools import partial
import numpy as np
from amorsize_async import execute_async

def use(constant, item):
    if item == 1:
        print("ready", flush=True)
    time.sleep(60)

asyncio.run(execute_async(partial(use, np.ones(32 << 20)), [1, 2], n_jobs=2))
"""


def _shared_kilobytes():
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Shmem:"))


# ── where it is refused ──────────────────────────────────────────────────────────────────────────────────────────────


@linux
async def test_without_shared_memory_payloads_travel_in_band_with_one_warning(executor, monkeypatch, caplog):
    """A sandbox may refuse it: everything still arrives, and the report says why it is slow."""
    monkeypatch.setattr(_system, "nameless_file", _refused)
    items = [np.full(MIB // 8, number) for number in range(10)]

    with caplog.at_level(logging.WARNING, "amorsize_async"):
        for _ in range(2):
            results, report = await executor.execute(np.sum, items, return_report=True)

    assert [int(result) for result in results] == [number * MIB // 8 for number in range(10)]
    assert len(caplog.records) == 1
    assert "shared memory was refused" in report.warnings[0]


def _refused():
    raise PermissionError(1, "Operation not permitted")


@linux
async def test_want_of_descriptors_is_not_a_refusal(executor, monkeypatch, caplog):
    """What is sent meanwhile goes through a pipe, in silence; what is sent after it does not."""
    constant, items = np.ones(MIB // 8), [np.full(MIB // 8, number) for number in range(10)]
    scale = partial(np.multiply, constant)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(_system, "nameless_file", _out_of_descriptors)
        results, report = await executor.execute(scale, items, return_report=True)
    made = _counted(monkeypatch)
    again = await executor.execute(scale, items)

    assert [int(result[0]) for result in results] == [int(result[0]) for result in again] == list(range(10))
    assert not caplog.records
    assert not any("shared memory" in warning for warning in report.warnings)
    assert len(made) > 1  # one for the function, and those of the chunks


def _out_of_descriptors():
    raise OSError(errno.EMFILE, "Too many open files")


@linux
async def test_a_worker_that_cannot_open_the_memory_gets_everything_in_band(executor, monkeypatch, caplog):
    """What was sent is sent again, and counted once."""
    told = os.fstat

    def mistaken(descriptor):
        other = list(told(descriptor))
        other[1] += 1  # the inode
        return os.stat_result(other)

    monkeypatch.setattr("amorsize_async._arena.os.fstat", mistaken)

    results, report = await executor.execute(large_jobs.made_of, [(100_000, 5)] * 9, return_report=True)
    arrays = await executor.execute(np.sum, [np.ones(100_000)] * 9)

    assert [len(result) for result in results] == [100_000] * 9
    assert arrays == [100_000.0] * 9
    assert report.items == 9
    assert sum("shared memory was refused" in record.getMessage() for record in caplog.records) == 1


@linux
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become nobody")
async def test_workers_without_rights_get_a_large_function_in_band():
    """They may not open what is ours; it is sent to them whole, and nothing is sent for ever."""
    constant = np.arange(100_000)
    async with AsyncExecutor(2, initializer=large_jobs.drop_rights) as executor:
        async with asyncio.timeout(20):
            results = await executor.execute(partial(large_jobs.element, constant), range(50))

    assert results == list(range(50))


@linux
async def test_kept_items_hold_neither_results_nor_descriptors_without_end():
    """A small item that is kept keeps its own memory, and of many only some are mapped."""
    before = _shared_kilobytes()
    items = [(np.ones(3_000), 4 * MIB)] * 150
    async with AsyncExecutor(1) as executor:
        results = await executor.execute(large_jobs.keep_and_make, items, chunksize=1)

        assert _shared_kilobytes() - before < 64 << 10
    assert max(descriptors for _, descriptors in results) < 120


@linux
async def test_a_child_of_a_worker_keeps_what_it_saw(tmp_path):
    """The memory of an item that a forked process may still see is not used again."""
    go = tmp_path / "go"
    items = [(str(go), np.full(100_000, number)) for number in range(6)]
    async with AsyncExecutor(1) as executor:
        assert await executor.execute(large_jobs.fork_and_keep, items, chunksize=1) == [0, 1, 2, 3, 4, 5]
        go.touch()
        for _ in range(400):
            seen = [path.read_text() for path in tmp_path.glob("go.*")]
            if len(seen) == len(items) and all(seen):
                break
            await asyncio.sleep(0.05)

    assert sorted(map(float, seen)) == [0, 1, 2, 3, 4, 5]


async def test_large_bytes_do_not_hold_the_loop_on_their_way_home(executor):
    """They are copied in steps; the best of a few runs."""
    worst = []
    while len(worst) < 3 and min(worst, default=1) >= 0.04:
        async with lag_of_the_loop() as lags:
            (result,) = await executor.execute(large_jobs.made_of, [(96 * MIB, 7)])
        assert len(result) == 96 * MIB
        worst.append(max(lags))

    assert min(worst) < 0.04
