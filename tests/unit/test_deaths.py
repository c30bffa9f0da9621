"""How a death is told, and when deaths are an item's fault, or everybody's."""

from __future__ import annotations

import pytest

from amorsize_async._deaths import DEATHS_IN_A_ROW, Casualties, Death, crash_error, want_of_memory


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (3, "exit code 3"),
        (-9, "signal SIGKILL"),
        (-11, "signal SIGSEGV"),
        (-250, "signal 250"),
        (None, "an unknown exit code"),
    ],
)
def test_exit_codes_are_told_in_words(code, words):
    """Multiprocessing gives a signal as a negative number."""
    assert Death(code).reason == words


def test_a_crash_tells_all_that_is_known():
    """Who, of what, at which item, with which stacks; the stacks in a note, since they are long."""
    error = crash_error(77, 3, Death(-11, "File x.py, line 1", ""), "while it ran item 3")

    assert str(error) == "a worker (pid 77) died with signal SIGSEGV while it ran item 3"
    assert (error.index, error.exitcode, error.pid, error.output) == (3, -11, 77, "File x.py, line 1")
    assert error.__notes__ == ["the worker's last words:\nFile x.py, line 1"]


def test_want_of_memory_is_called_so():
    """In brackets, after the signal."""
    error = crash_error(77, 3, Death(-9, "", "out of memory: 150 MiB"), "while it ran item 3")

    assert "signal SIGKILL (out of memory: 150 MiB) while" in str(error)
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize(
    ("exitcode", "oom_kills", "found"), [(-9, 1, True), (-9, 0, False), (-11, 1, False), (None, 1, False)]
)
def test_only_a_killed_worker_may_have_wanted_memory(exitcode, oom_kills, found):
    """And only if the kernel has killed somebody for that since it began."""
    assert bool(want_of_memory(exitcode, oom_kills=oom_kills, held=0, limit=None)) is found


def test_want_of_memory_tells_what_was_held_and_allowed():
    """As far as that is known."""
    words = (
        "out of memory: the oom_kill counter of the cgroup with a limit of 512 MiB rose by 2, it held 300 MiB before"
    )

    assert want_of_memory(-9, oom_kills=2, held=300 << 20, limit=512 << 20) == words


def test_an_item_is_lost_at_its_last_allowed_death():
    """Each item has its own count."""
    casualties = Casualties(max_item_deaths=2, n_jobs=1)

    assert [casualties.is_lost(7), casualties.is_lost(8), casualties.is_lost(7)] == [False, False, True]


def test_deaths_without_a_result_between_them_end_the_execution():
    """One result starts the count again."""
    casualties = Casualties(max_item_deaths=2, n_jobs=2)
    limit = DEATHS_IN_A_ROW + 4

    assert not any(casualties.too_many() for _ in range(limit))
    casualties.survived()
    assert [casualties.too_many() for _ in range(limit + 1)] == [False] * limit + [True]
