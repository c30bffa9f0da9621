"""Blocking calls beside the loop: their outcome, and who waits for whom."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from amorsize_async._threads import in_thread


async def test_what_a_call_returns_or_raises_comes_back():
    """Whatever it is."""
    assert await in_thread(lambda: threading.current_thread().daemon) is True
    with pytest.raises(SystemExit):
        await in_thread(lambda: sys.exit(3))


@pytest.mark.parametrize("kind", [StopIteration, asyncio.CancelledError], ids=lambda kind: kind.__name__)
async def test_what_no_future_carries_ends_the_wait_as_an_error(kind):
    """A factory of hooks that says `next(...)`, say: no future takes that, and whoever waits would wait for ever."""

    def call():
        raise kind

    with pytest.raises(RuntimeError, match=kind.__name__):
        async with asyncio.timeout(10):
            await in_thread(call)


def no_thread(_thread):
    """What a system says that has no more of them."""
    raise RuntimeError("can't start new thread")


async def test_what_must_be_done_is_done_here_where_there_is_no_thread(monkeypatch):
    """Whatever comes of it; not what may take for ever."""
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        await in_thread(int, only_there=True)

    assert await in_thread(threading.get_ident) == threading.get_ident()
    with pytest.raises(SystemExit):
        await in_thread(lambda: sys.exit(3))


async def test_no_thread_is_left_when_its_call_has_ended():
    """The caller has waited for its very end."""
    before = threading.enumerate()
    await in_thread(int)

    assert threading.enumerate() == before


@pytest.mark.parametrize("how", ["cancelled", "closed", "interrupted"])
async def test_a_caller_that_has_to_go_does_not_wait_for_the_call(how):
    """A Ctrl-C hits the loop's thread wherever it is, and a loop that ends closes its coroutines."""
    free = threading.Event()
    late = threading.Timer(10.0, free.set)
    late.start()
    waiting = in_thread(free.wait)
    try:
        if how == "cancelled":
            task = asyncio.ensure_future(waiting)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            waiting.send(None)
            if how == "closed":
                waiting.close()
            else:
                with pytest.raises(KeyboardInterrupt):
                    waiting.throw(KeyboardInterrupt())
        assert not free.is_set()
    finally:
        late.cancel()
        free.set()
