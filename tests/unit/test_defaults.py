"""The numbers that the documentation promises, where no other test would notice another one."""

from __future__ import annotations

import inspect

import pytest

from amorsize_async import (
    AsyncExecutor,
    HookManager,
    RetryPolicy,
    _bus,
    _deadline,
    _engine,
    _hook_rules,
    _run,
    create_progress_hook,
    create_throughput_hook,
)
from amorsize_async._books import KEPT_FAILURES
from amorsize_async.integrations._sse import KEEP_ALIVE_SECONDS

EXECUTOR = {
    "n_jobs": None,
    "hooks": None,
    "start_method": None,
    "initializer": None,
    "initargs": (),
    "inner_threads": 1,
    "max_items_per_worker": None,
    "max_worker_rss": None,
    "max_item_deaths": 2,
    "cancel_grace": 0.1,
    "start_timeout": 60.0,
    "max_pending": None,
}
REGISTER = {"timeout": 5.0, "mode": "auto", "when": None, "every": None, "once": False, "critical": False}
RETRY = {
    "attempts": 3,
    "on": Exception,
    "wait_initial": 0.1,
    "wait_max": 5.0,
    "wait_exp_base": 2.0,
    "wait_jitter": 1.0,
}


@pytest.mark.parametrize(
    ("function", "promised"),
    [
        (AsyncExecutor, EXECUTOR),
        (AsyncExecutor.aclose, {"drain": 10.0}),
        (HookManager, {"verbose": False}),
        (HookManager.register, REGISTER),
        (RetryPolicy, RETRY),
        (create_progress_hook, {"min_interval": 1.0}),
        (create_throughput_hook, {"min_interval": 5.0}),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_a_default_is_what_the_documentation_says(function, promised):
    """All of them, in one place."""
    parameters = inspect.signature(function).parameters.values()

    assert {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty} == promised


@pytest.mark.parametrize(
    ("number", "promised"),
    [
        (_bus.BARRIER_SECONDS, 5.0),
        (_run.FLUSH_SECONDS, 5.0),
        (_run.FLUSH_SECONDS_CANCELLED, 1.0),
        (_hook_rules.QUARANTINE_AFTER, 5),
        (_hook_rules.QUARANTINE_SECONDS, 30.0),
        (_engine.STREAM_CHUNKS, 16),
        (_deadline.LOOP_GRACE, 0.5),
        (KEPT_FAILURES, 1000),
        (KEEP_ALIVE_SECONDS, 15.0),
    ],
)
def test_a_number_of_the_documentation_is_so(number, promised):
    """Seconds, chunks, failures."""
    assert number == promised
