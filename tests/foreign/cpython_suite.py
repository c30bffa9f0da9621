"""CPython's own tests of `ProcessPoolExecutor`, from the `test` package of this Python, run against `LoopExecutor`.

    python -c "import cpython_suite; cpython_suite.main('WaitTests')"

runs some parts of it, by name, and prints the score as JSON. Nothing of the suite is copied; where this Python came
without it, importing this fails.
"""
# ruff: noqa: N802, PT009, PT027 - unittest's names and unittest's asserts

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing.util
import os
import sys
import time
import unittest

from adapter import LoopExecutor

from amorsize_async.errors import UnpicklableError

PACKAGE = "test.test_concurrent_futures"
MODULES = ("util", "executor", "test_process_pool", "test_shutdown", "test_deadlock", "test_wait", "test_as_completed")
TESTS = {
    "ProcessPoolExecutorTest": "executor",
    "AsCompletedTests": "as completed",
    "WaitTests": "wait",
    "ProcessPoolShutdownTest": "shutdown",
    "ExecutorDeadlockTest": "deadlock",
    "InitializerMixin": "initializer",
    "FailingInitializerMixin": "failing initializer",
}

ALL_AT_ONCE = "an AsyncExecutor starts all of its workers when it is opened"
RECYCLING = "recycling by max_tasks_per_child is not offered: it deadlocks (cpython#115634)"
EXCLUDED = {
    "test_killed_child": "demands that the pool breaks; here the worker is replaced and its item runs again",
    "test_idle_process_reuse_one": ALL_AT_ONCE,
    "test_idle_process_reuse_multiple": ALL_AT_ONCE,
    "test_max_tasks_per_child": RECYCLING,
    "test_max_tasks_per_child_defaults_to_spawn_context": RECYCLING,
    "test_max_tasks_early_shutdown": RECYCLING,
    "test_processes_terminate": ALL_AT_ONCE,
    "test_python_finalization_error": "replaces a private function to fail the second thread of ProcessPoolExecutor",
    "test_hang_gh83386": "its program raises NameError for any process pool; CPython does not run it for its own",
}


def parts():
    """Everything in the suite, by name: it was one module before Python 3.12, and is a package since."""
    whole = importlib.import_module(PACKAGE)
    modules = (
        [importlib.import_module(f"{PACKAGE}.{name}") for name in (*MODULES, "test_init")] if whole.__path__ else []
    )
    return {name: value for module in (whole, *modules) for name, value in vars(module).items()}


SUITE = parts()


class Adapted(SUITE["ProcessPoolForkserverMixin"]):
    """Our executor in place of theirs, and what their tests must be told about it."""

    executor_type = LoopExecutor

    def setUp(self):
        if reason := EXCLUDED.get(self._testMethodName):
            self.skipTest(reason)
        super().setUp()

    def _check_crash(self, error, func, *args, ignore_stderr=False):
        """Expect their error or ours; and then, what theirs cannot promise, that the executor still works."""
        with self.executor_type(max_workers=2, mp_context=self.get_context()) as executor:
            with self.assertRaises((error, UnpicklableError)):
                executor.submit(func, *args).result(timeout=self.TIMEOUT)
            self.assertEqual(executor.submit(pow, 2, 8).result(timeout=self.TIMEOUT), 256)


class AdaptedToFail(Adapted):
    """The initializer is given no queue to log to: what it raised is the cause of the executor's error instead."""

    def setUp(self):
        self.executor_kwargs = {"initializer": SUITE["init_fail"]}
        super(SUITE["FailingInitializerMixin"], self).setUp()

    @contextlib.contextmanager
    def _assert_logged(self, message):
        yield
        cause = self.executor._host.broken.__cause__
        self.assertEqual(f"{type(cause).__name__}: {cause}", message)


def adapted(name):
    """A part of the suite as a test case of ours; it has a name here, by which workers find it."""
    base = AdaptedToFail if name == "FailingInitializerMixin" else Adapted
    return type(f"Our{name}", (base, SUITE[name], SUITE["BaseTestCase"]), {"__module__": __name__})


CASES = {name: adapted(name) for name in TESTS}
globals().update({case.__name__: case for case in CASES.values()})


def script_with_ours(ok):
    """`assert_python_ok` for programs that import an executor by its name: it is ours, and is found here."""
    theirs, ours = (f"from {place} import {LoopExecutor.__name__}" for place in ("concurrent.futures", "adapter"))

    def run(command, program, **variables):
        if theirs not in program:
            raise AssertionError(f"the program does not say {theirs!r}: it would not run ours")
        return ok(command, program.replace(theirs, ours), PYTHONPATH=os.pathsep.join(sys.path), **variables)

    return run


class Score(unittest.TestResult):
    """What came of each test: name, outcome, seconds, and why."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def startTest(self, test):
        super().startTest(test)
        self._began = time.monotonic()

    def _note(self, test, outcome, why=""):
        self.rows.append((test._testMethodName, outcome, time.monotonic() - self._began, why))

    def addSuccess(self, test):
        self._note(test, "passed")

    def addSkip(self, test, reason):
        self._note(test, "excluded" if test._testMethodName in EXCLUDED else "skipped", reason)

    def addFailure(self, test, err):
        self._note(test, "failed", self._exc_info_to_string(err, test))

    def addError(self, test, err):
        self.addFailure(test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addFailure(test, err)


def main(*names):
    """Run some of `TESTS`, part by part; progress goes to stderr, the score to stdout."""
    shutdown = sys.modules.get(f"{PACKAGE}.test_shutdown", sys.modules[PACKAGE])
    shutdown.assert_python_ok = script_with_ours(shutdown.assert_python_ok)
    sys.modules["test.support"].verbose = 0
    score = {}
    for name in names:
        title, result = TESTS[name], Score()
        for test in unittest.defaultTestLoader.loadTestsFromTestCase(CASES[name]):
            sys.stderr.write(f"{title}: {test._testMethodName}\n")
            test.run(result)
        score[title] = result.rows
    multiprocessing.util._cleanup_tests()
    sys.stdout.write(json.dumps(score) + "\n")
