"""Functions that cross to workers by reference, as `jobs.<name>`. Standard library only, and no test lives here."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import sys
import time
from pathlib import Path


def identity(item):
    """Give the item back."""
    return item


def square(number):
    """Square a number."""
    return number * number


def first_of(pair):
    """Give the first of two back."""
    return pair[0]


def looked_up(table, key):
    """Look something up in a constant."""
    return table[key]


def pid_of(item):
    """Tell which process ran the item."""
    return os.getpid()


def nap(seconds):
    """Hold a worker for some seconds, and give them back."""
    time.sleep(seconds)
    return seconds


def raise_value_error(item):
    """Fail on every item, naming it."""
    raise ValueError(item)


def die(item):
    """End the worker without a word."""
    os._exit(17)


def tally(path_and_item):
    """Append the item to a file, in one write, so that a test can count who ran what; give the item back.

    Takes a pair: the path of the file, and the item.
    """
    path, item = path_and_item
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()} {item}\n")
    return item


async def cancel_itself(number):
    """Have the own task cancelled if the number is 0, and wait for nothing after that."""
    import asyncio

    if not number:
        asyncio.current_task().cancel()
    return number


async def square_soon(number):
    """Square a number after a turn of the loop."""
    import asyncio

    await asyncio.sleep(0)
    return number * number


def spin(seconds):
    """Keep a core busy for some seconds of CPU time, and tell who did."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
    return os.getpid()


def nap_index(index_and_seconds):
    """Hold a worker for some seconds, then give the index back."""
    index, seconds = index_and_seconds
    time.sleep(seconds)
    return index


def divide(number):
    """Fail on zero."""
    return 1 / number


def loaded_modules(names):
    """Tell which of the modules this worker has imported."""
    import sys

    return [name for name in names if name in sys.modules]


def exit_on(pair):
    """End the process if the item says so: ("exit", code), ("kill", signal), ("raise", name of an exception)."""
    import builtins

    what, value = pair
    if what == "exit":
        os._exit(value)
    if what == "kill":
        os.kill(os.getpid(), value)
        time.sleep(60)
    if what == "raise":
        raise getattr(builtins, value)("on purpose")
    return value


class OddError(Exception):
    """An exception that pickle cannot make again: its constructor needs two arguments, and it keeps one."""

    def __init__(self, code, reason):
        super().__init__(f"{reason} ({code})")


def raise_odd(item):
    """Raise an exception that does not survive pickling."""
    raise OddError(item, "odd")


class Bomb:
    """An item that cannot be unpickled."""

    def __reduce__(self):
        return _explode, ()


def _explode():
    raise RuntimeError("boom")


def make_bomb(item):
    """Return a result that cannot be unpickled, for one item."""
    return Bomb() if item == 3 else item


def make_lock(item):
    """Return a result that cannot be pickled, for one item."""
    import threading

    return threading.Lock() if item == 3 else item


async def nap_soon(seconds):
    """Wait on the worker's loop for some seconds."""
    import asyncio

    await asyncio.sleep(seconds)
    return seconds


async def fail_soon(number):
    """Fail on zero, after a turn of the loop."""
    import asyncio

    await asyncio.sleep(0)
    return 1 / number


def environment(name):
    """Tell what a variable is in this worker."""
    return os.environ.get(name)


MARK = []


class CollectsGarbage:
    """Becomes what is so when it is unpickled: whether garbage is collected."""

    def __reduce__(self):
        return gc.isenabled, ()


def and_now(item):
    """The item, and whether garbage is collected while it runs."""
    return item, gc.isenabled()


def leave_mark(value):
    """An initializer: leave something for `read_mark` to find."""
    MARK.append(value)


def read_mark(item):
    """Tell what the initializer left."""
    return list(MARK)


def refuse(*args):
    """An initializer that fails."""
    raise ConnectionError("no database")


class SpeechlessError(Exception):
    """An exception that cannot say what it is."""

    def __str__(self):
        """Fail."""
        raise RuntimeError("no words")


def raise_speechless(item):
    """Fail on three, without words."""
    if item == 3:
        raise SpeechlessError(item)
    return item


def spin_and_divide(number):
    """Take a millisecond, then fail on zero."""
    spin(0.001)
    return divide(number)


def die_on_odd(number):
    """End the process on every odd number; tell who ran the others."""
    if number % 2:
        os._exit(3)
    return os.getpid()


class KillsWhenPickled:
    """A result that kills the worker while it is pickled."""

    def __reduce__(self):
        os._exit(9)


def die_in_the_reply(item):
    """End the worker, for one item, in the middle of its reply."""
    if item != 3:
        return item
    write = os.write

    def write_half(descriptor, data):
        write(descriptor, bytes(data)[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    os.write = write_half
    return item


def kill_by_result(item):
    """Return such a result, for one item."""
    return KillsWhenPickled() if item == 3 else item


def close_everything(item):
    """Close the descriptors that the worker lives by, for one item."""
    if item == 3:
        os.closerange(3, 200)
    return item


def falsy_failure(item):
    """Raise an exception that is false."""

    class EmptyError(Exception):
        def __len__(self):
            return 0

    raise EmptyError


def frozen_failure(item):
    """Raise an exception that cannot be changed."""

    class FrozenError(Exception):
        def __setattr__(self, name, value):
            raise AttributeError(name)

        def add_note(self, note):
            raise AttributeError("add_note")

    raise FrozenError


def fork_and(how, path, item):
    """Count the call, fork, and end the child as one does, or go on in it."""
    from pathlib import Path

    with Path(path).open("a") as log:
        log.write(f"{item}\n")
    if os.fork() == 0 and how != "return":
        if how == "exit":
            sys.exit(0)
        raise ValueError("raised by the child")
    os.wait()
    return item


async def fork_and_soon(how, path, item):
    """The same, as a coroutine."""
    return fork_and(how, path, item)


def fork_and_sleep(seconds):
    """Sleep, with a child that has ended."""
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    time.sleep(seconds)


def fork_and_return(item):
    """Leave a second process that believes to be the worker."""
    os.fork()
    return item


def nested(number):
    """Use the library in the worker."""
    from amorsize_async import execute

    return sum(execute(square, range(number), n_jobs=1))


async def nested_soon(number):
    """Use the library on the worker's own loop."""
    from amorsize_async import execute_async

    return await execute_async(square, [number, number + 1])


def nested_fork(number):
    """Use the library in the worker, with a worker that is forked from this one; give their pids, and what came."""
    import asyncio

    from amorsize_async import AsyncExecutor

    async def main():
        async with AsyncExecutor(1, start_method="fork") as executor:
            return executor.statistics().workers, await executor.execute(process_id_and_square, range(number))

    return os.getpid(), asyncio.run(main())


def process_id_and_square(number):
    """Where this runs, and something to compute."""
    return os.getpid(), number * number


def hang(item):
    """Never return for item 3; the others are quick."""
    while item == 3:
        time.sleep(3600)
    return item


def hold_the_interpreter(item):
    """Be deaf to everything for item 3: one call of C code that never lets go of the interpreter."""
    if item == 3:
        re.match(r"(a+)+$", "a" * 64 + "b")
    return item


async def wait_long(item):
    """Wait for ever for item 3."""
    import asyncio

    await asyncio.sleep(3600 if item == 3 else 0.001)
    return item


async def block_the_loop(item):
    """Block the worker's own loop for item 3, after the others have begun."""
    import asyncio

    await asyncio.sleep(0)
    return hang(item)


def hang_in_pickle(item):
    """Return something for item 3 that never ends to be pickled."""
    return Hanging() if item == 3 else item


class Hanging:
    """Takes for ever to be pickled."""

    def __reduce__(self):
        time.sleep(3600)


def fail_until(path_and_times):
    """Fail the first times; the file counts the attempts. Gives their number."""
    path, times = path_and_times
    attempts = tally_of(path) + 1
    Path(path).write_text("x" * attempts)
    if attempts <= times:
        raise ConnectionError(f"attempt {attempts}")
    return attempts


async def fail_until_soon(path_and_times):
    """As `fail_until`, as a coroutine."""
    return fail_until(path_and_times)


def tally_of(path):
    """Attempts so far."""
    return len(Path(path).read_text()) if Path(path).exists() else 0


def hoard(megabytes):
    """Keep memory for good, and give the pid."""
    HOARD.append(bytearray(megabytes << 20))
    return os.getpid()


HOARD = []


def segfault(item):
    """Read where nothing is, for item 3."""
    if item == 3:
        ctypes.string_at(0)
    return item


class Stall:
    """Hang in the first attempts; the file counts them."""

    def __init__(self, path, times):
        self.path, self.times = path, times

    def __call__(self, item):
        attempts = tally_of(self.path) + 1
        Path(self.path).write_text("x" * attempts)
        if attempts <= self.times:
            time.sleep(3600)
        return item


def as_path(number):
    """Give an object of a class."""
    return Path(str(number))


def die_at_first(path, times):
    """End the process in the first starts; the file counts them, without one every start is the first."""
    starts = 1 if path is None else tally_of(path) + 1
    if path is not None:
        Path(path).write_text("x" * starts)
    if starts <= times:
        os._exit(7)


def refuse_and_count(path):
    """Raise, and count how often."""
    Path(path).write_text("x" * (tally_of(path) + 1))
    raise ConnectionError("no database")


def raise_with_index(item):
    """Fail with an exception that has an `index` of its own, which holds the item."""
    failure = LookupError("no such row")
    failure.index = {"row": item}
    raise failure


class UnprintableError(SyntaxError):
    """An exception whose line `traceback` asks for, and does not get."""

    @property
    def text(self):
        """There is none."""
        raise LookupError("no line")


def raise_unprintable(item):
    """Fail with an exception that `traceback` cannot print."""
    raise UnprintableError("no text")


def workers_of_a_call(where):
    """Workers that a call has which is made in a worker and runs `where`."""
    from amorsize_async import execute

    _, report = execute(square, range(4), executor=where, return_report=True)
    return report.n_jobs


def nested_n_jobs(item):
    """Tell how many workers an executor that is made here may have."""
    from amorsize_async import AsyncExecutor

    return AsyncExecutor().statistics().n_jobs


def depth_reached(depth):
    """Call itself through `execute` until that is refused; gives how deep it was."""
    from amorsize_async import execute
    from amorsize_async.errors import WorkerStartError

    try:
        return execute(depth_reached, [depth + 1], n_jobs=1)[0]
    except WorkerStartError:
        return depth + 1


def raise_for_odd(number):
    """Raise ValueError for odd numbers."""
    if number % 2:
        raise ValueError(number)
    return number


def inner_threads(item):
    """Tell how many threads each numerical library that is loaded here may use."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    return tuple({library["num_threads"] for library in threadpool_info()})


class Table:
    """Has a method to be called on items, and can be watched."""

    def at(self, item):
        """The item."""
        return item


def limit_memory(extra):
    """Let this process have so many bytes of addresses more, and no further."""
    import resource
    from pathlib import Path

    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + extra, held + extra))


async def exit_in_a_task(number):
    """Begin a task that asks the process to exit, for one of the items."""
    import asyncio

    async def leave():
        sys.exit(5)

    if number == 3:
        leaving = asyncio.create_task(leave())
        await asyncio.wait([leaving])
    return number


class InterruptsHere:
    """Ctrl-C comes while it is pickled."""

    def __reduce__(self):
        raise KeyboardInterrupt


class InterruptsThere:
    """Ctrl-C comes while it is unpickled in the process with that pid."""

    def __init__(self, pid):
        self.pid = pid

    def __reduce__(self):
        return interrupting, (self.pid,)


def interrupting(pid):
    """Make one, where that is not it."""
    if os.getpid() == pid:
        raise KeyboardInterrupt
    return InterruptsThere(pid)
