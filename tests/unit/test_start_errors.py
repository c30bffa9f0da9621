"""The error for a worker that could not be started names what was refused, and the way out."""

from __future__ import annotations

import errno
from concurrent.futures.process import BrokenProcessPool

import pytest

from amorsize_async._deaths import Death
from amorsize_async._failures import failure_of, travelling
from amorsize_async.backends.start_errors import initializer_error, start_error

WAYS_OUT = {
    "files": (OSError(errno.EMFILE, "too many"), "raise the limit (ulimit -n)"),
    "processes": (BlockingIOError(errno.EAGAIN, "no fork"), "raise it (ulimit -u"),
    "semaphores": (PermissionError(errno.EACCES, "/dev/shm"), "make both writable and larger"),
    "daemon": (AssertionError("daemonic processes"), "a daemonic process may have no children"),
    "the end": (RuntimeError("can't create new thread at interpreter shutdown"), "the program is ending"),
    "unknown": (RuntimeError("odd"), "what it wrote to stderr says more"),
}


@pytest.mark.parametrize("case", WAYS_OUT)
def test_what_the_system_refuses_has_a_way_out(case):
    """And the error may go better another time."""
    cause, words = WAYS_OUT[case]
    error = start_error(cause, Death(), nowhere=False)

    assert f"a worker could not be started ({type(cause).__name__}: {cause}); " in str(error)
    assert words in str(error)
    assert error.transient


@pytest.mark.parametrize(("nowhere", "words"), [(True, "the working directory is gone"), (False, "make both writable")])
def test_a_file_that_is_missing_may_be_the_working_directory(nowhere, words):
    """Only where that was deleted."""
    assert words in str(start_error(FileNotFoundError(errno.ENOENT, "no such file"), Death(), nowhere=nowhere))


def test_a_worker_that_died_while_it_started_tells_how():
    """Its exit code, and its stacks in a note; that its pool broke says no more than that."""
    error = start_error(BrokenProcessPool("long words"), Death(-11, "File x.py, line 1"), nowhere=False)

    assert "(BrokenProcessPool); it died with signal SIGSEGV; " in str(error)
    assert error.__notes__ == ["the worker's last words:\nFile x.py, line 1"]


def test_an_initializer_that_raised_is_the_cause():
    """It would raise again: the next start can be spared."""
    error = initializer_error(travelling(failure_of(0, ConnectionError("no database"))))

    assert str(error) == "the initializer of a worker raised ConnectionError; no worker can start"
    assert isinstance(error.__cause__, ConnectionError)
    assert not error.transient
