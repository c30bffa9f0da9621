"""The Stop button of a notebook: an interrupt ends the cell that waits for workers, and what they do, at once."""

from __future__ import annotations

import threading
import time

import pytest

from services.clients import lines_of, wait_for
from services.conftest import note
from services.kernels import kernel

BEFORE = """
import asyncio, signal
from amorsize_async import AsyncExecutor
from services.programs.beats import beat

executor = await AsyncExecutor(2).start()
"""

LIST = "await executor.execute(beat, [({path!r}, 20)] * 4)"
STREAM = "async with executor.stream(beat, [({path!r}, 20)] * 4) as results:\n    async for _ in results: pass"
JOB = "job = executor.start(beat, [({path!r}, 20)] * 2)\nawait job"
NESTED = """
async def items():
    await executor.execute(len, ["a"])
    yield ({path!r}, 20)
await executor.execute(beat, items())
"""


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A kernel with an executor, for all tests here: it is its start that takes long."""
    with kernel(tmp_path_factory.mktemp("kernel")) as fresh:
        assert fresh.run(BEFORE).status == "ok"
        yield fresh


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Workers outlive a cell; what is left is asked when the kernel is ended."""


class Stopped:
    """A kernel in which a cell was stopped as soon as a worker was on it."""

    def __init__(self, warm, file, code):
        self.kernel, self.file = warm, file
        threading.Thread(target=self._press).start()
        cell = warm.run(code.format(path=str(file)))
        self.error, self.seconds = cell.error, cell.ended - self._pressed

    def _press(self):
        wait_for(lambda: lines_of(self.file))
        self._pressed = time.monotonic()
        self.kernel.interrupt()

    def still_beats(self):
        """Whether somebody still works, half a second later."""
        beats = len(lines_of(self.file))
        time.sleep(0.5)  # what must not happen tells nobody
        return len(lines_of(self.file)) > beats


@pytest.mark.parametrize("code", [LIST, STREAM, NESTED], ids=["a list", "a stream", "a run around another"])
def test_an_interrupt_ends_a_cell_and_its_work_within_a_second(warm, tmp_path, code):
    """No work goes on, the next cell may use the executor, and signals are left to whom they were."""
    stopped = Stopped(warm, tmp_path / "beats", code)
    note(f"the Stop button ended a cell after {stopped.seconds:.3f} s")

    assert (stopped.error, stopped.seconds < 1) == ("CancelledError", True)
    assert not stopped.still_beats()
    assert warm.run("print(await executor.execute(len, ['a', 'bb']))").text == "[1, 2]\n"
    assert warm.run("print(signal.set_wakeup_fd(-1))").text == "-1\n"


def test_an_interrupt_ends_the_waiting_for_a_job_and_not_the_job(warm, tmp_path):
    """That is what `cancel` is for."""
    stopped = Stopped(warm, tmp_path / "beats", JOB)

    assert (stopped.error, stopped.seconds < 1) == ("CancelledError", True)
    assert stopped.still_beats()
    assert warm.run("job.cancel(); await job.wait(); print(job.status)").text == "cancelled\n"
    assert not stopped.still_beats()
