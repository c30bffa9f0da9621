"""Runs one storm and prints what came of it as JSON: `storm.py LOOP SEED FAULTS`."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys

import leaks
from faults.conftest import new_runner
from faults.semaphores import remembered
from faults.storm import Outcome, storm


def main(loop: str, seed: int, faults: int) -> None:
    """Run it; what is left when the loop is closed counts, too."""
    # On a machine that others load, each tick of the hunter's hook may be told as slow.
    logging.getLogger("amorsize_async").setLevel(logging.ERROR)
    with new_runner(loop) as runner:
        runner.get_loop()  # libuv keeps the descriptors of its first loop
    before, outcome = leaks.Snapshot.take(), Outcome(seed)
    with remembered() as semaphores, leaks.complaints() as messages, new_runner(loop) as runner:
        runner.run(storm(seed, faults, outcome))
    left = leaks.left_since(before, {"file"}, leaks.GRACE)
    outcome.orphans = len(left.children)
    leftovers = [*left.lines(), *messages, *semaphores.left()]
    outcome.leftovers = len(leftovers) - outcome.orphans
    outcome.details = [*outcome.details, *leftovers][:20]
    json.dump(dataclasses.asdict(outcome), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
