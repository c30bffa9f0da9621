"""What is known of a worker that died, and when dying workers are an item's fault, or everybody's; pure."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass, field

from .errors import WorkerCrashedError

__all__ = ("Casualties", "Death", "crash_error", "want_of_memory")

DEATHS_IN_A_ROW = 40
# Workers that may die one after the other without one result between them, beside two for each worker: then it is not
# single items that kill. Bad items come in clusters, and each may cost two.

OOM_EXITCODE = -9
# The kernel's out-of-memory killer sends SIGKILL, which Windows, where this module is imported too, has no name for.


@dataclass(frozen=True, slots=True)
class Death:
    """How a worker ended.

    exitcode: as of `multiprocessing.Process`, None if unknown. output: the stacks that its `faulthandler` wrote.
    memory: why it seems that the kernel killed it for want of memory, "" if it does not.
    """

    exitcode: int | None = None
    output: str = ""
    memory: str = ""

    @property
    def reason(self) -> str:
        """The exit code in words."""
        if self.exitcode is None:
            return "an unknown exit code"
        return f"{_signal_or_code(self.exitcode)}{self.memory and f' ({self.memory})'}"


def _signal_or_code(exitcode: int) -> str:
    """`multiprocessing` gives the number of a signal as a negative exit code."""
    if exitcode >= 0:
        return f"exit code {exitcode}"
    try:
        return f"signal {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"signal {-exitcode}"


def want_of_memory(exitcode: int | None, *, oom_kills: int, held: int, limit: int | None) -> str:
    """Why it seems that the kernel killed a worker to get its memory; "" if it does not.

    oom_kills: processes that the kernel killed for that since the worker was started. held: bytes that it had before, 0
    if unknown. limit: bytes that all may have, None without one.
    """
    if exitcode != OOM_EXITCODE or oom_kills <= 0:
        return ""
    before = f", it held {held >> 20} MiB before" if held else ""
    within = "" if limit is None else f" with a limit of {limit >> 20} MiB"
    return f"out of memory: the oom_kill counter of the cgroup{within} rose by {oom_kills}{before}"


def crash_error(pid: int | None, index: int | None, death: Death, when: str) -> WorkerCrashedError:
    """The error for a worker that died; `when` says at what."""
    message = f"a worker (pid {pid}) died with {death.reason} {when}"
    error = WorkerCrashedError(message, index=index, exitcode=death.exitcode, pid=pid, output=death.output)
    if death.output:
        error.add_note(f"the worker's last words:\n{death.output}")
    return error


@dataclass(slots=True)
class Casualties:
    """The deaths of one execution. max_item_deaths: workers that may die of one item; n_jobs: workers it may use."""

    max_item_deaths: int
    n_jobs: int
    in_a_row: int = 0
    _of_items: Counter[int] = field(default_factory=Counter)

    def survived(self) -> None:
        """Note that a chunk came back."""
        self.in_a_row = 0

    def too_many(self) -> bool:
        """Note a death; tells whether so many came without a result between them that the execution should end."""
        self.in_a_row += 1
        return self.in_a_row > DEATHS_IN_A_ROW + 2 * self.n_jobs

    def is_lost(self, index: int) -> bool:
        """Note that a worker died of this item alone; tells whether it is to be given up."""
        self._of_items[index] += 1
        return self._of_items[index] >= self.max_item_deaths
