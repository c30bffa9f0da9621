"""Why a worker could not be started, in an error that names the way out; pure."""

from __future__ import annotations

import errno
from concurrent.futures import BrokenExecutor

from .. import _failures
from .._deaths import Death
from ..errors import RemoteError, WorkerStartError

__all__ = ("initializer_error", "start_error")


REFUSALS = (
    (
        {errno.EMFILE, errno.ENFILE},
        "each worker needs about 20 open files here: raise the limit (ulimit -n), or lower n_jobs",
    ),
    (
        {errno.EAGAIN},
        "the limit of processes is reached: raise it (ulimit -u, pids.max of the cgroup), or lower n_jobs",
    ),
    (
        {errno.ENOSPC, errno.EROFS, errno.ENOENT, errno.EACCES, errno.ENOSYS, errno.EPERM},
        (
            "workers need semaphores in the system's shared memory (/dev/shm on Linux) and a socket in the temporary "
            'directory (TMPDIR): make both writable and larger, or pass executor="thread"'
        ),
    ),
)
# What the system says when it refuses one of the things that a worker is made of, and what helps.


def start_error(cause: BaseException, death: Death, *, nowhere: bool) -> WorkerStartError:
    """The error for a start that `cause` broke off, which may go better another time.

    death: how the process ended, if it ever began. nowhere: whether the working directory is gone.
    """
    what = type(cause).__name__ if isinstance(cause, BrokenExecutor) else f"{type(cause).__name__}: {cause}"
    how = "" if death.exitcode is None else f"it died with {death.reason}; "
    out = _way_out(cause, nowhere=nowhere)
    error = WorkerStartError(f"a worker could not be started ({what}); {how}{out}", transient=True)
    if death.output:
        error.add_note(f"the worker's last words:\n{death.output}")
    return error


def _way_out(cause: BaseException, *, nowhere: bool) -> str:
    """What helps, as far as the error tells."""
    if isinstance(cause, AssertionError):
        return 'a daemonic process may have no children: make it non-daemonic, or pass executor="thread" there'
    if isinstance(cause, FileNotFoundError) and nowhere:
        return "the working directory is gone: os.chdir to one that exists"
    if isinstance(cause, RuntimeError) and "shutdown" in str(cause):
        return "the program is ending: make no calls in atexit, and join threads that do before the main one ends"
    number = getattr(cause, "errno", None)
    return next((help_ for numbers, help_ in REFUSALS if number in numbers), "what it wrote to stderr says more")


def initializer_error(failure: _failures.Failure) -> WorkerStartError:
    """The error for a worker whose initializer raised: no other would do better."""
    cause = _failures.received(failure, None)
    kind = cause.type_name if isinstance(cause, RemoteError) and cause.type_name else type(cause).__name__
    error = WorkerStartError(f"the initializer of a worker raised {kind}; no worker can start")
    error.__cause__ = cause
    return error
