"""What crosses to a worker and goes wrong there, or on the way: by reference, as `faults.harm.<name>`."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import resource
import signal
import sys
import threading
import time


def perform(item):
    """Call the item if it can be called: then it is a fault. Square it otherwise."""
    return item() if callable(item) else item * item


def ring(bell):
    """Tell the other end of a named pipe which process has come here."""
    pipe = os.open(bell, os.O_WRONLY)
    os.write(pipe, os.getpid().to_bytes(4, "little"))
    os.close(pipe)


def ring_and(bell, then):
    """Ring, then do something."""
    ring(bell)
    return then()


def pid_behind(gate):
    """Wait until somebody rings at the gate; tell which process waited."""
    with open(gate, "rb", buffering=0) as pipe:  # noqa: PTH123 - a pipe: reading is waiting
        pipe.read(4)
    return os.getpid()


def start_behind(bell, gate):
    """An initializer: ring, and from the second worker on wait at the gate."""
    marker = f"{bell}.begun"
    ring(bell)
    if os.path.exists(marker):  # noqa: PTH110 - a worker starts light
        pid_behind(gate)
    os.close(os.open(marker, os.O_CREAT))


def start_once(starts):
    """An initializer: the first worker starts, all others die."""
    first = not os.path.exists(starts)  # noqa: PTH110 - as above
    file = os.open(starts, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(file, b"start ")
    os.close(file)
    if not first:
        sigkill()


def nap_and_square(seconds, number):
    """Take some time for a square."""
    time.sleep(seconds)
    return number * number


# ── what ends the process ────────────────────────────────────────────────────────────────────────────────────────────


def sigkill():
    """Be killed, as if out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def sigterm():
    """Be asked to end."""
    os.kill(os.getpid(), signal.SIGTERM)


def _no_dump():
    """Leave no core file, and no traceback that a forked worker would print into the test run's own output."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()


def segfault():
    """Read address zero."""
    _no_dump()
    ctypes.string_at(0)


def abort():
    """End as a failed assertion in C does."""
    _no_dump()
    os.abort()


def exit_zero():
    """End without a word, and with a clean exit code."""
    os._exit(0)


def exit_three():
    """End without a word."""
    os._exit(3)


def exit_with(ballast):
    """End without a word, although much came along."""
    os._exit(3)


# ── what hangs ───────────────────────────────────────────────────────────────────────────────────────────────────────


def hold_the_gil():
    """Stay in C for hours: no signal handler and no thread of the worker runs meanwhile."""
    sum(range(10**13))


def spin():
    """Stay in Python for ever."""
    while True:
        pass


def nap():
    """Sleep for an hour."""
    time.sleep(3600)


def stop():
    """Be stopped, as by a debugger."""
    os.kill(os.getpid(), signal.SIGSTOP)


# ── what raises ──────────────────────────────────────────────────────────────────────────────────────────────────────


def sys_exit():
    """Leave as a script does."""
    sys.exit(3)


def interrupt():
    """Raise what Ctrl-C raises."""
    raise KeyboardInterrupt


def cancel():
    """Raise what a cancelled task raises."""
    raise asyncio.CancelledError


def generator_exit():
    """Raise what a closed generator raises."""
    raise GeneratorExit


def stop_iteration():
    """Raise what a coroutine may not raise."""
    raise StopIteration(7)


def stop_async_iteration():
    """Raise its sibling."""
    raise StopAsyncIteration(7)


def recurse():
    """Call itself until it may not."""
    return recurse()


def exhaust_memory():
    """Ask for more memory than there are addresses."""
    return bytes(1 << 62)


class TwoArgumentsError(Exception):
    """An exception that pickle cannot make again: its constructor needs two arguments, and it keeps one."""

    def __init__(self, code, reason):
        super().__init__(f"{reason} ({code})")


def raise_two_arguments():
    """Raise an exception whose constructor breaks unpickling."""
    raise TwoArgumentsError(7, "odd")


def raise_with_lock():
    """Raise an exception with an attribute that cannot be pickled."""
    error = ValueError("locked")
    error.lock = threading.Lock()
    raise error


# ── what cannot travel ───────────────────────────────────────────────────────────────────────────────────────────────


class Explosive:
    """Something that pickles well, and fails to unpickle anywhere."""

    def __reduce__(self):
        return _explode, ()


def _explode():
    raise RuntimeError("boom")


class Leaver:
    """Something that ends the program which pickles it, or would."""

    def __reduce__(self):
        sys.exit(3)


class KillsWhenPickled:
    """Something that kills the worker which pickles it."""

    def __reduce__(self):
        os._exit(9)


class KillsWhenLoaded:
    """Something that kills the worker which unpickles it, and nobody else."""

    def __reduce__(self):
        return _kill_stranger, (os.getpid(),)


def _kill_stranger(home):
    if os.getpid() != home:
        sigkill()


class KillsWhenCollected:
    """Something that kills the worker which is done with it."""

    def __init__(self, home=None):
        self.home = home or os.getpid()

    def __reduce__(self):
        return KillsWhenCollected, (self.home,)

    def __mul__(self, other):
        return 49

    def __del__(self):
        _kill_stranger(self.home)


def return_lock():
    """Return what cannot be pickled."""
    return threading.Lock()


def return_explosive():
    """Return what cannot be unpickled."""
    return Explosive()


def return_killer():
    """Return what kills the worker while it is pickled."""
    return KillsWhenPickled()
