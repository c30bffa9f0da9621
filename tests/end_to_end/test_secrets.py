"""The canary: items, arguments and results carry a secret, every feature is used, and nothing of ours sings it.

The text of the user's own exception is the user's: it may hold what the user put in, and comes out where the exception
does, as itself or in the `RemoteError` that stands for it. Nothing else that we write may.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

import jobs
from amorsize_async import AsyncExecutor, HookEvent, HookManager, execute_async, stream_async
from amorsize_async.errors import (
    AmorsizeError,
    ExecutorClosedError,
    InputError,
    RemoteError,
    UnpicklableError,
    WorkerCrashedError,
    WorkerStartError,
)

SECONDS = 100


@pytest.fixture
def canary():
    """A secret that stands nowhere else."""
    return f"CANARY-{uuid.uuid4()}"


@pytest.fixture
async def executor():
    """Two workers that give an item up with the first one that dies of it."""
    async with AsyncExecutor(2, max_item_deaths=1) as executor:
        yield executor


# ── what is done with the secret: each feature once; functions in functions travel by value ──────────────────────────


async def executes(executor, canary):
    """A list, in chunks of different sizes, of a partial that holds the secret too."""
    await executor.execute(partial(max, canary), [canary] * 500)
    await executor.execute(jobs.identity, [canary] * 500, chunksize=7, n_jobs=1)


async def submits(executor, canary):
    """Single calls, with the secret by position and by name."""
    await executor.submit(jobs.identity, canary)
    await executor.submit(lambda *, key: key, key=canary)


async def awaits(executor, canary):
    """Coroutine functions in the workers, one of which fails."""

    async def fails(item):
        raise ValueError("bad item")

    await executor.execute(fails, [canary] * 3, return_exceptions=True)


async def streams(executor, canary):
    """A stream that is left early, and one of an input that never ends."""
    async with executor.stream(jobs.identity, (canary for _ in range(10**6)), buffersize=20) as results:
        async for _ in results:
            break
    async for _ in executor.stream(jobs.identity, [canary] * 100, ordered=False):
        pass


async def fails(executor, canary):
    """The first failure ends the call; or all of them are kept. The exception's text is the secret."""
    await executor.execute(jobs.raise_value_error, [canary] * 20, return_exceptions=True)
    with suppress(ValueError):
        await executor.execute(jobs.raise_value_error, [canary] * 20)
    async for _ in executor.stream(jobs.divide, [canary] * 20):  # its text goes into asyncio's debug log: it has none
        pass


async def crashes(executor, canary):
    """Workers die of items, and of results."""
    await executor.execute(jobs.die, [canary] * 3, return_exceptions=True)
    await executor.execute(jobs.kill_by_result, [canary, 3, canary], return_exceptions=True)


async def sends_the_unpicklable(executor, canary):
    """Items and results that do not pickle, and such that do not unpickle."""
    locked = {canary: (canary, threading.Lock())}
    await executor.execute(jobs.identity, [canary, locked, canary], return_exceptions=True)
    await executor.execute(lambda item: (item, threading.Lock()), [canary] * 3, return_exceptions=True)
    await executor.execute(jobs.identity, [canary, refusing(canary)()], return_exceptions=True)
    await executor.execute(refusing(canary, os.getpid()), [canary] * 3, return_exceptions=True)


async def calls_the_unpicklable(executor, canary):
    """A function that does not travel, for a secret that it holds."""
    await executor.execute(partial(max, canary, threading.Lock()), [canary])


async def reads_what_raises(executor, canary):
    """An input that raises between two items."""

    def items():
        yield canary
        raise ValueError(canary)

    await executor.execute(jobs.identity, items())


async def runs_out_of_time(executor, canary):
    """A call past its time limit, in the middle of items that hang."""
    async with asyncio.timeout(0.2):
        await executor.execute(lambda item: time.sleep(60), [canary] * 10)


async def has_bad_hooks(executor, canary):
    """Hooks of each colour that raise, one that hangs, and one whose condition raises; told to be verbose."""
    hooks = HookManager(verbose=True)

    def plain(context):
        raise ConnectionError("exporter is down")

    async def awaited(context):
        raise ConnectionError("exporter is down")

    async def hangs(context):
        await asyncio.Event().wait()

    hooks.register(HookEvent, plain)
    hooks.register(HookEvent, awaited, when=lambda context: 1 / 0)
    hooks.register(HookEvent.ON_ERROR, partial(plain), mode="inline")
    hooks.register(HookEvent.ON_ERROR, awaited)
    hooks.register(HookEvent.ON_CHUNK_COMPLETE, hangs, timeout=0.01)
    await executor.execute(jobs.raise_value_error, [canary] * 20, return_exceptions=True, hooks=hooks)


async def runs_elsewhere(executor, canary):
    """Threads, and somebody else's processes."""
    await execute_async(jobs.identity, [canary] * 20, executor="thread", n_jobs=2)
    with ProcessPoolExecutor(1, mp_context=executor_context()) as pool:
        await execute_async(jobs.identity, [canary] * 20, executor=pool)
        await execute_async(jobs.raise_value_error, [canary] * 20, executor=pool, return_exceptions=True)


async def starts_badly(executor, canary):
    """An initializer that raises."""
    async with AsyncExecutor(1, initializer=jobs.refuse, initargs=[canary]):
        pass


FEATURES = (
    executes,
    submits,
    awaits,
    streams,
    fails,
    crashes,
    sends_the_unpicklable,
    calls_the_unpicklable,
    reads_what_raises,
    runs_out_of_time,
    has_bad_hooks,
    runs_elsewhere,
    starts_badly,
)


def refusing(canary, pid=None):
    """A function that gives what refuses to be unpickled, by the process `pid` or by any, and says why with the secret.

    It travels by value, being made in a function.
    """

    def unpickled(kind):
        import os

        if pid in {None, os.getpid()}:
            raise ValueError(canary)
        return kind()

    class Refusing(Exception):  # noqa: N818 - an exception too, to be raised
        def __reduce__(self):
            return unpickled, (Refusing,)

        def __call__(self, item):
            return item

    return lambda item=None: Refusing()


def executor_context():
    """How somebody else's processes are started here: by spawn, which lets them write to this process's stderr."""
    import multiprocessing

    return multiprocessing.get_context("spawn")


# ── what is written: by the parent at the most talkative, and by its workers ─────────────────────────────────────────


async def use_everything(start_method, canary):
    """Use each feature, and say which; whatever it raises is its caller's, and says nothing here."""
    asyncio.get_running_loop().slow_callback_duration = 0.0  # asyncio's debug mode then logs each callback
    for feature in FEATURES:
        logging.getLogger("test").info("-- %s", feature.__name__)
        async with AsyncExecutor(2, start_method=start_method, max_item_deaths=1) as executor:
            with suppress(Exception):
                await feature(executor, canary)
            logging.getLogger("test").debug("%r %r", executor, executor.statistics())


@pytest.mark.parametrize(("start_method", "loop"), [("forkserver", "uvloop"), ("spawn", "asyncio")], ids=" on ".join)
def test_nothing_is_written_of_items(start_method, loop, canary):
    """Neither in logs at DEBUG, with asyncio's debug mode on, nor to the parent's or the workers' streams."""
    pytest.importorskip(loop)
    command = [sys.executable, "-X", "dev", __file__, start_method, loop, canary]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, env=paths)

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("INFO:test:-- ") == len(FEATURES)
    assert [line for line in (done.stdout + done.stderr).splitlines() if canary in line] == []


def main(start_method, loop, canary):
    """Use everything in a process of its own, where all that is logged goes to stderr."""
    logging.basicConfig(level=logging.DEBUG)
    factory = asyncio.new_event_loop
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(debug=True, loop_factory=factory) as runner:
        runner.run(use_everything(start_method, canary))


# ── what is told: in errors, representations, reports and metrics ────────────────────────────────────────────────────


def told_of(error):
    """All that an error of ours says by itself: its causes are others' errors."""
    assert isinstance(error, AmorsizeError)
    return f"{error!s} {error!r} {error.args} {vars(error)}"


async def unpicklable_item(executor, canary):
    """A lock deep inside, under a key that is the secret."""
    await executor.execute(jobs.identity, [{canary: [canary, threading.Lock()]}])


async def unloadable_item(executor, canary):
    """It raises while the worker makes it again."""
    await executor.execute(jobs.identity, [refusing(canary)()])


async def unpicklable_function(executor, canary):
    """A lock beside the secret."""
    await executor.execute(partial(max, canary, threading.Lock()), [canary])


async def unloadable_function(executor, canary):
    """As the item."""
    await executor.execute(refusing(canary)(), [canary])


async def unpicklable_result(executor, canary):
    """A lock under the secret."""
    await executor.execute(lambda item: {item: threading.Lock()}, [canary])


async def unloadable_result(executor, canary):
    """It raises while the parent makes it again."""
    await executor.execute(refusing(canary, os.getpid()), [canary])


async def unloadable_exception(executor, canary):
    """As the result."""
    make = refusing(canary, os.getpid())

    def fails(item):
        raise make()

    await executor.execute(fails, [canary])


async def deadly_item(executor, canary):
    """The worker dies of it."""
    await executor.execute(jobs.die, [canary])


async def broken_input(executor, canary):
    """It raises with the secret."""
    await executor.execute(jobs.identity, (jobs.raise_value_error(canary) for _ in range(1)))


async def broken_initializer(executor, canary):
    """It raises with the secret."""
    await AsyncExecutor(1, initializer=jobs.raise_value_error, initargs=[canary]).start()


async def unpicklable_initargs(executor, canary):
    """A lock beside the secret."""
    AsyncExecutor(1, initializer=jobs.refuse, initargs=[canary, threading.Lock()])


async def refusing_executor(executor, canary):
    """Somebody else's, which tells what it was given."""

    class Refuses(Executor):
        def submit(self, fn, /, *args, **kwargs):
            raise RuntimeError(f"cannot run {fn} with {args}")

    await execute_async(jobs.identity, [canary], executor=Refuses())


async def closed_executor(executor, canary):
    """It takes nothing any more."""
    await executor.aclose()
    await executor.submit(jobs.identity, canary)


ERRORS = {
    unpicklable_item: UnpicklableError,
    unloadable_item: UnpicklableError,
    unpicklable_function: UnpicklableError,
    unloadable_function: UnpicklableError,
    unpicklable_result: UnpicklableError,
    unloadable_result: UnpicklableError,
    unloadable_exception: RemoteError,
    deadly_item: WorkerCrashedError,
    broken_input: InputError,
    broken_initializer: WorkerStartError,
    unpicklable_initargs: UnpicklableError,
    refusing_executor: ExecutorClosedError,
    closed_executor: ExecutorClosedError,
}


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.__name__)
async def test_errors_of_ours_hold_no_values(executor, canary, case):
    """They name the item by its index and what is wrong by its type; its text, which is others', is their cause."""
    with pytest.raises(ERRORS[case]) as caught:
        await case(executor, canary)

    assert canary not in told_of(caught.value)


@pytest.mark.parametrize(("name", "kind"), [("ValueError", ValueError), ("SystemExit", RemoteError)])
async def test_the_users_own_text_stays_with_the_users_exception(executor, canary, name, kind):
    """As itself, or in what stands for it."""

    def fails(item):
        import builtins

        raise getattr(builtins, name)(item)

    with pytest.raises(kind, match=canary):
        await executor.execute(fails, [canary])


async def representations(executor, canary):
    """All that is shown of objects of ours that have seen the secret, by name."""
    hooks, contexts = HookManager(), []
    handle = hooks.register(HookEvent, partial(lambda key, context: contexts.append(context), canary), mode="inline")
    options = {"return_exceptions": True, "hooks": hooks}
    failures, report = await executor.execute(jobs.raise_value_error, [canary] * 20, return_report=True, **options)
    assert [str(failure) for failure in failures] == [canary] * 20
    async with stream_async(jobs.raise_value_error, [canary] * 20, executor=executor, **options) as stream:
        first = f"{await anext(stream)!s} {stream!r} {stream.enumerate()!r} {executor!r}".removeprefix(canary)
    return {
        "executor": f"{executor!r} {executor.statistics()!r}",
        "stream": f"{first} {stream!r}",
        "hooks": f"{hooks!r} {handle!r} {hooks.get_stats()!r}",
        "report": f"{report.explain()} {report._repr_html_()} {json.dumps(report.to_dict())}",
        "repr of the report": repr(report),
        "repr of contexts": repr(contexts),
        "metrics": repr([{**vars_of(context), "error": None} for context in contexts]),
    }


def vars_of(context):
    """What a context tells but for the user's exception and its texts."""
    told = {name: getattr(context, name) for name in context.__slots__}
    told["metadata"] = {key: value for key, value in told["metadata"].items() if key != "report"}
    return told | dict.fromkeys(("error", "error_message", "error_traceback"))


SHOWN = ("executor", "stream", "hooks", "report", "metrics", "repr of the report", "repr of contexts")


@pytest.mark.parametrize("shown", SHOWN)
async def test_nothing_is_shown_of_items(executor, canary, shown):
    """Statistics, reports and representations count items and name the types of exceptions; they show no values."""
    told = await representations(executor, canary)

    assert canary not in told[shown]


# ── where it is kept: in the memory of the processes concerned, and nowhere else ─────────────────────────────────────


def family():
    """This process and all that came of it."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def files():
    """Files and shared memory that anybody could open."""
    roots = [Path(tempfile.gettempdir()), Path("/dev/shm")]
    return [path for root in roots if root.is_dir() for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
async def test_no_secret_is_in_the_process_table_or_in_a_file(start_method, canary):
    """Command lines, environments and files may be read by others, now or later."""
    initializing = {"initializer": jobs.leave_mark, "initargs": [canary], "start_method": start_method}
    async with AsyncExecutor(2, **initializing) as executor:
        await executor.execute(partial(max, canary), [canary * 10_000] * 20)
        processes = family()
        table = [f"{process.cmdline()} {process.environ()}" for process in processes]
        kept = [path for path in files() if canary.encode() in path.read_bytes()]

    assert len(processes) >= 3
    assert [line for line in table if canary in line] == []
    assert kept == []


@pytest.mark.parametrize("start_method", ["forkserver", "spawn"])
async def test_no_port_is_opened(start_method):
    """Neither here nor in a worker; the fork server's socket has a path."""
    async with AsyncExecutor(2, start_method=start_method) as executor:
        await executor.submit(jobs.identity, 1)
        ports = [
            each.net_connections("inet") for each in [psutil.Process(), *psutil.Process().children(recursive=True)]
        ]

    assert ports == [[]] * len(ports)


if __name__ == "__main__":
    main(*sys.argv[1:])
