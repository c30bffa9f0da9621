"""Faults by the hundred, on pools that many calls share: nothing lost, nothing twice, no innocent harmed, no hang."""

from __future__ import annotations

import faulthandler
import json
import os
import random
from types import SimpleNamespace

import pytest

from faults import figures
from faults.conftest import LOOPS
from faults.outside import Program

pytestmark = pytest.mark.leaks_file  # the storm looks for its own: other programs leave theirs in /dev/shm meanwhile

GATE = 300
SECONDS_PER_FAULT = 0.5
"""The watchdog's patience: ten times what a fault takes."""

SEED = int(os.environ.get("FAULTS_SEED", random.SystemRandom().randrange(10**6)))


def weather(loop, seed, faults):
    """Run a storm in a program of its own; a hang is ended from outside, and is a failure."""
    with Program("storm", loop, seed, faults) as program:
        program.ended(60 + SECONDS_PER_FAULT * faults)
        assert (program.process.returncode, program.complained) == (0, ""), f"seed {seed}"
        return SimpleNamespace(**json.loads(program.printed))


def judge(name, outcome):
    """Note what came of a storm, and hold all of it to zero."""
    faults = f"{outcome.poison} in items, {outcome.kills} kills from outside"
    figures.note(f"{name}", f"{faults}, {outcome.delivered:,} items, {outcome.seconds:.1f} s, seed {outcome.seed}")
    told = "\n".join(outcome.details)
    for what in ("lost", "duplicated", "innocent", "wrong", "hangs", "orphans", "leftovers"):
        figures.number(f"{name}: {what}", getattr(outcome, what), told=told)


@pytest.mark.parametrize("loop", LOOPS)
def test_A1_a_storm_of_three_hundred_faults(loop):  # noqa: N802 - scenarios are numbered
    """Half of them kill a random worker from outside; FAULTS_SEED repeats one."""
    outcome = weather(loop, SEED, GATE)

    judge(f"storm on {loop}", outcome)
    figures.number(f"storm on {loop}: seconds", round(outcome.seconds), 60, slack=figures.SLACK)


@pytest.mark.soak
def test_A1_a_soak():  # noqa: N802
    """As many as FAULTS says, in one storm: nothing adds up."""
    faulthandler.cancel_dump_traceback_later()  # the watchdog of the storm is more patient
    judge("soak", weather("uvloop" if "uvloop" in LOOPS else "asyncio", SEED, int(os.environ["FAULTS"])))
