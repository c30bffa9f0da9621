"""Why a worker could not be started, in an error that names the way out; pure."""

from __future__ import annotations

import errno
from concurrent.futures import BrokenExecutor

from .. import _failures
from .._deaths import Death
from ..errors import WorkerStartError

__all__ = ("initializer_error", "start_error")


OUT_OF_FILES = {errno.EMFILE, errno.ENFILE}
OUT_OF_PROCESSES = {errno.EAGAIN}
NO_SHARED_MEMORY = {errno.ENOSPC, errno.EROFS, errno.ENOENT, errno.EACCES, errno.ENOSYS, errno.EPERM}
# What the system says when it refuses one of the things that a worker is made of.


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
    number = getattr(cause, "errno", None)
    if number in OUT_OF_FILES:
        return "each worker needs about 20 open files here: raise the limit (ulimit -n), or lower n_jobs"
    if number in OUT_OF_PROCESSES:
        return "the limit of processes is reached: raise it (ulimit -u, pids.max of the cgroup), or lower n_jobs"
    if number in NO_SHARED_MEMORY:
        return (
            "workers need semaphores in the system's shared memory (/dev/shm on Linux) and a socket in the temporary "
            'directory (TMPDIR): make both writable and larger, or pass executor="thread"'
        )
    return "what it wrote to stderr says more"


def initializer_error(failure: _failures.Failure) -> WorkerStartError:
    """The error for a worker whose initializer raised: no other would do better."""
    cause = _failures.received(failure, None)
    error = WorkerStartError(f"the initializer of a worker raised {type(cause).__name__}; no worker can start")
    error.__cause__ = cause
    return error
