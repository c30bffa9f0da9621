"""Coroutines for code without a loop: what Ctrl-C does to them."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from amorsize_async import _without_loop


class Interrupted:
    """A future that Ctrl-C comes to while it is waited for."""

    def set_exception(self, exc):
        self.exception = exc

    set_result = set_exception

    def done(self):
        return False

    def result(self):
        raise KeyboardInterrupt


async def test_ctrl_c_before_the_other_threads_loop_has_begun_stops_it_all_the_same(monkeypatch):
    """What was to run there is not begun."""
    begun, outcome = [], Interrupted()
    held = threading.Event()

    def late(called):
        held.wait(10)
        return asyncio.run(called())

    async def work():
        begun.append(time.monotonic())

    monkeypatch.setattr(_without_loop, "_in_new_loop", late)
    monkeypatch.setattr(_without_loop.concurrent.futures, "Future", lambda: outcome)
    monkeypatch.setattr(_without_loop._Stoppable, "cancel", _and_then(_without_loop._Stoppable.cancel, held.set))
    with pytest.raises(KeyboardInterrupt):
        _without_loop.anywhere(work)

    assert not begun
    assert isinstance(outcome.exception, asyncio.CancelledError)


def _and_then(first, second):
    def both(*args):
        first(*args)
        second()

    return both
