"""The line to a worker: real pipes, and a thread at their other end in place of a process."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import pickle
import sys
import threading
import time
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextvars import ContextVar, copy_context

import pytest

from amorsize_async import AsyncExecutor, _line
from amorsize_async._line import HEADER, Answering, Ends
from amorsize_async.backends.line import Line

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a pipe there is no file")


class OtherEnd:
    """Somebody who answers calls when asked to. asked: how often that was."""

    def __init__(self):
        its_calls, our_calls = multiprocessing.Pipe(duplex=False)
        our_answers, its_answers = multiprocessing.Pipe(duplex=False)
        self.ours, self.its = Ends(our_calls, our_answers), Ends(its_calls, its_answers)
        self.answering = Answering(self.its)
        self.threads = ThreadPoolExecutor(1)
        self.asked = 0
        self.last = None

    def serving(self):
        """Have the calls answered."""
        self.asked += 1
        self.last = self.threads.submit(self.answering.go_on)
        return self.last


@pytest.fixture
def other_end():
    """Somebody, and nothing of it when the test is over."""
    end = OtherEnd()
    yield end
    end.ours.close()  # ends who still reads there
    end.threads.shutdown()
    end.its.close()


@pytest.fixture
async def line(other_end):
    """A line to it."""
    line = Line(other_end.ours, other_end.serving)
    yield line
    line.hang_up()
    line.close()


async def called(line, fn, *args):
    """The answer to a call."""
    async with asyncio.timeout(20):
        return await asyncio.wrap_future(line.submit(fn, *args))


async def test_calls_are_answered_in_their_order(line, other_end):
    """Many at once, by who is asked once."""
    futures = [asyncio.wrap_future(line.submit(divmod, number, 7)) for number in range(500)]

    assert await asyncio.gather(*futures) == [divmod(number, 7) for number in range(500)]
    assert other_end.asked == 1
    assert repr(line) == "<Line served, 0 calls out>"


async def test_what_a_call_raises_is_told_in_words(line):
    """It fails alone."""
    with pytest.raises(RuntimeError, match="ZeroDivisionError: "):
        await called(line, divmod, 1, 0)

    assert await called(line, divmod, 1, 1) == (1, 0)


async def test_a_large_call_and_its_answer_do_not_hold_the_loop(other_end):
    """Neither fits into a pipe; nobody is there to read yet."""
    asked = []

    def later():
        asked.append(Future())
        return asked[-1]

    line = Line(other_end.ours, later)
    data = bytes(50_000_000)
    answer = asyncio.wrap_future(line.submit(bytes.upper, data))
    await asyncio.sleep(0)

    assert not answer.done()
    other_end.serving()
    async with asyncio.timeout(20):
        assert await answer == data
    line.close()


async def test_who_has_nothing_to_do_leaves_and_is_asked_again(line, other_end):
    """A program that closes nothing could not end otherwise."""
    await called(line, abs, -1)
    await asyncio.wrap_future(other_end.last)
    await asyncio.sleep(0)

    assert repr(line) == "<Line idle, 0 calls out>"
    assert await called(line, abs, -2) == 2
    assert other_end.asked == 2


async def test_who_is_busy_for_long_is_asked_again_too(line, other_end):
    """Only the pool knows that the interpreter is ending, so it has a say every second."""
    began = time.monotonic()
    while other_end.asked < 2:
        assert await called(line, abs, -1) == 1
        assert time.monotonic() - began < 20

    assert time.monotonic() - began > 0.9


async def test_a_call_that_comes_as_the_other_side_leaves_is_answered(other_end):
    """Who was there has left, which is news here only after the call."""
    left = Future()
    asked = []

    def serving():
        asked.append(None)
        return left if len(asked) == 1 else other_end.serving()

    line = Line(other_end.ours, serving)
    answer = asyncio.wrap_future(line.submit(abs, -3))
    left.set_result(None)

    async with asyncio.timeout(20):
        assert await answer == 3
    line.hang_up()
    line.close()


async def test_what_was_answered_before_a_death_counts(other_end):
    """The rest is broken, and so is the line; half an answer is none."""
    serving = Future()
    line = Line(other_end.ours, lambda: serving)
    whole, half = (asyncio.wrap_future(line.submit(abs, number)) for number in (-1, -2))
    answer = pickle.dumps((1, None))
    frame = HEADER.pack(len(answer)) + answer
    os.write(other_end.its.answers.fileno(), (2 * frame)[:-1])

    serving.set_exception(BrokenProcessPool("killed"))

    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(whole, half, return_exceptions=True)
    assert (outcomes[0], type(outcomes[1])) == (1, BrokenProcessPool)
    with pytest.raises(BrokenProcessPool):
        line.submit(abs, -3)
    line.close()


async def test_a_line_whose_other_end_is_closed_is_broken(line, other_end):
    """By a function that closes all descriptors, say: nobody would ever tell."""
    await called(line, abs, -1)
    other_end.its.answers.close()
    lost = asyncio.wrap_future(line.submit(abs, -2))

    with pytest.raises(BrokenProcessPool):
        async with asyncio.timeout(20):
            await lost


@pytest.mark.parametrize("interrupted", ["os.write", "os.read", "amorsize_async.backends.line.loads"])
async def test_an_interrupt_breaks_the_line_and_leaves_nobody_waiting(other_end, monkeypatch, interrupted):
    """A notebook's loop goes on after a KeyboardInterrupt; what came of half a frame would be another call's answer."""
    line = Line(other_end.ours, Future)
    out = asyncio.wrap_future(line.submit(abs, -1))
    answer = pickle.dumps((1, None))
    os.write(other_end.its.answers.fileno(), HEADER.pack(len(answer)) + answer)

    def interrupt(*_arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(interrupted, interrupt)
        with pytest.raises(KeyboardInterrupt):
            line.submit(abs, -2) if interrupted == "os.write" else line._readable()

    with pytest.raises(BrokenProcessPool):
        await out
    with pytest.raises(BrokenProcessPool):
        line.submit(abs, -3)
    line.close()


async def test_who_is_not_heard_leaves_and_says_the_rest_when_asked_again(other_end):
    """A loop that was left for good would keep the interpreter from ending; one that was only held loses nothing."""
    call = pickle.dumps((bytes, (1_000_000,)))
    os.write(other_end.ours.calls.fileno(), HEADER.pack(len(call)) + call)

    async with asyncio.timeout(20):
        await asyncio.wrap_future(other_end.serving())
        assert "0 bytes heard" in repr(other_end.answering)
        assert "0 unsaid" not in repr(other_end.answering)
        line = Line(other_end.ours, other_end.serving)
        line._out.append(rest := Future())
        line._serve()

        assert await asyncio.wrap_future(rest) == bytes(1_000_000)
    line.hang_up()
    line.close()


async def test_half_a_call_is_heard_to_its_end_when_asked_again(other_end):
    """Even if it breaks off in its length."""
    call = pickle.dumps((abs, (-1,)))
    frame = HEADER.pack(len(call)) + call
    line = Line(other_end.ours, other_end.serving)
    line._out.append(answer := Future())

    async with asyncio.timeout(20):
        for part in (frame[:3], frame[3:10]):
            os.write(other_end.ours.calls.fileno(), part)
            await asyncio.wrap_future(other_end.serving())
        os.write(other_end.ours.calls.fileno(), frame[10:])
        line._serve()

        assert await asyncio.wrap_future(answer) == 1
    line.hang_up()
    line.close()


async def test_a_call_that_the_other_side_has_no_memory_for_fails_alone(line, monkeypatch):
    """It is read to its end, and what comes behind it is answered."""

    def refusing(size):
        if size > 1 << 20:
            raise MemoryError
        return bytearray(size)

    monkeypatch.setattr(_line, "bytearray", refusing, raising=False)
    calls = [called(line, len, bytes(size)) for size in (1, 3 << 20, 2)]
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert (results[0], type(results[1]), results[2]) == (1, MemoryError, 2)


class Limited(bytearray):
    """Takes a MiB."""

    def __iadd__(self, data):
        if len(self) + len(data) > 1 << 20:
            raise MemoryError
        return super().__iadd__(data)


async def test_an_answer_that_there_is_no_memory_for_fails_alone(line):
    """It is read to its end, and what comes behind it is heard."""
    line._heard = Limited()
    calls = [called(line, bytes, size) for size in (1, 3 << 20, 2)]
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert (results[0], type(results[1]), results[2]) == (b"\0", MemoryError, b"\0\0")


async def test_what_somebody_else_writes_breaks_the_line(line, other_end):
    """A function with the number of a descriptor that is another one over there: its text is no length."""
    call = asyncio.wrap_future(line.submit(time.sleep, 0.3))
    os.write(other_end.its.answers.fileno(), b"item 1 is begun\n")

    with pytest.raises(BrokenProcessPool, match="something else wrote to the descriptor that it answers by"):
        await call


async def test_what_was_answered_before_the_other_side_left_is_heard_before_its_death(other_end):
    """All of it in one turn of the loop: the next who is asked is dead already."""
    left = Future()
    asked = []

    def serving():
        asked.append(None)
        if len(asked) > 1:
            raise BrokenProcessPool("killed")
        return left

    line = Line(other_end.ours, serving)
    out = asyncio.wrap_future(line.submit(abs, -1))
    answer = pickle.dumps((1, None))
    os.write(other_end.its.answers.fileno(), HEADER.pack(len(answer)) + answer)
    left.set_result(None)

    async with asyncio.timeout(20):
        assert await out == 1
    line.close()


async def test_a_call_that_cannot_be_pickled_fails_alone(line):
    """For want of memory, say."""
    with pytest.raises(TypeError, match="cannot pickle"):
        await called(line, abs, threading.Lock())

    assert await called(line, abs, -1) == 1


async def test_a_line_keeps_nothing_of_the_context_that_it_is_made_in(other_end):
    """Which is that of the first request that needs a worker, and there are things in it."""

    class Thing:
        pass

    def made():
        thing = Thing()
        variable.set(thing)
        return Line(other_end.ours, Future), weakref.ref(thing)

    variable = ContextVar("variable")
    line, thing = copy_context().run(made)
    gc.collect()

    assert thing() is None
    line.close()


async def test_to_close_breaks_what_is_out(other_end):
    """And closes the pipes."""
    line = Line(other_end.ours, Future)
    out = asyncio.wrap_future(line.submit(abs, -1))

    line.close()

    with pytest.raises(BrokenProcessPool):
        await out
    assert other_end.ours.calls.closed
    assert other_end.ours.answers.closed
    line.hang_up()
    line.close()


async def test_to_hang_up_ends_the_other_side_at_once(line, other_end):
    """Whoever closes an executor does not wait for a worker to lose patience."""
    await called(line, abs, -1)
    line.hang_up()

    async with asyncio.timeout(20):
        await asyncio.wrap_future(other_end.last)


async def test_a_pool_that_takes_no_calls_breaks_the_line(other_end):
    """The interpreter is ending, say."""

    def refuse():
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    line = Line(other_end.ours, refuse)

    with pytest.raises(BrokenProcessPool, match="interpreter shutdown"):
        await asyncio.wrap_future(line.submit(abs, -1))
    line.close()


async def test_keyword_arguments_are_refused(line):
    """They would be lost."""
    with pytest.raises(TypeError, match=r"use functools\.partial"):
        line.submit(int, "7", base=8)


async def test_a_loop_that_watches_no_pipes_has_the_pool_run_the_calls(monkeypatch):
    """As on Windows."""

    def refuse(*_arguments):
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse, raising=False)
    async with AsyncExecutor(2) as executor:
        assert await executor.execute(abs, range(-1000, 0)) == [*range(1000, 0, -1)]
