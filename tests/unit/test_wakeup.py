"""Who is told of signals while a call waits: its loop, unless somebody else is, whose signals are never lost."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading

import pytest

from amorsize_async import _wakeup
from amorsize_async._wakeup import woken_by_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="loops of Windows see to it themselves")

NOBODY = -1


@pytest.fixture(autouse=True)
def handled():
    """SIGUSR1 has a handler, which does nothing; afterwards nobody is told of signals, as before."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    assert listener() == NOBODY
    yield
    assert signal.set_wakeup_fd(NOBODY) == NOBODY
    assert not _wakeup._bells
    signal.signal(signal.SIGUSR1, before)


def listener():
    """The descriptor that signals write to."""
    told = signal.set_wakeup_fd(NOBODY)
    signal.set_wakeup_fd(told)
    return told


def on_a_plain_loop(main):
    """Run `main()` on asyncio's own loop, whose signals nobody hears."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(main())


def sent_by_another_thread():
    """SIGUSR1, handed to a thread that is not the main one: no system call there is interrupted by it."""
    thread = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
    thread.start()
    thread.join()


async def turns_once():
    """Let the loop look for what has come."""
    await asyncio.sleep(0.01)


def test_a_signal_is_handled_at_once_while_a_call_waits():
    """Though the loop waits for something that does not come."""

    async def main():
        seen = asyncio.get_running_loop().create_future()
        signal.signal(signal.SIGUSR1, lambda *_: seen.set_result(None))
        with woken_by_signals():
            threading.Timer(0.1, sent_by_another_thread).start()
            await asyncio.wait_for(seen, 20)

    on_a_plain_loop(main)


def test_calls_on_one_loop_share_what_wakes_them():
    """The last one takes it down."""

    async def main():
        with woken_by_signals():
            first = listener()
            with woken_by_signals():
                assert listener() == first
            assert listener() == first
        assert listener() == NOBODY

    on_a_plain_loop(main)


def test_whoever_is_told_of_signals_stays_so():
    """Here asyncio itself, for a handler that was there before, and for one that comes meanwhile."""

    async def main():
        loop, heard = asyncio.get_running_loop(), []
        loop.add_signal_handler(signal.SIGUSR1, heard.append, "before")
        told = listener()
        with woken_by_signals():
            assert listener() == told
        loop.remove_signal_handler(signal.SIGUSR1)
        with woken_by_signals():
            loop.add_signal_handler(signal.SIGUSR1, heard.append, "meanwhile")
        assert listener() == told
        sent_by_another_thread()
        await turns_once()
        loop.remove_signal_handler(signal.SIGUSR1)
        return heard

    assert on_a_plain_loop(main) == ["meanwhile"]


@pytest.mark.parametrize("meanwhile", [False, True], ids=["at the beginning", "at the end"])
def test_a_signal_that_comes_while_somebody_is_asked_for_reaches_them(monkeypatch, meanwhile):
    """For an instant it is we who are told."""
    ask = signal.set_wakeup_fd

    def interrupted(fd, **options):
        told = ask(fd, **options)
        if options:  # only the question has any
            sent_by_another_thread()
        return told

    async def main():
        loop, heard = asyncio.get_running_loop(), []

        def listen():
            loop.add_signal_handler(signal.SIGUSR1, heard.append, "heard")

        if not meanwhile:
            listen()
            monkeypatch.setattr(signal, "set_wakeup_fd", interrupted)
        with woken_by_signals():
            if meanwhile:
                listen()
                monkeypatch.setattr(signal, "set_wakeup_fd", interrupted)
        monkeypatch.undo()
        await turns_once()
        loop.remove_signal_handler(signal.SIGUSR1)
        return heard

    assert on_a_plain_loop(main) == ["heard"]


def test_a_listener_that_is_gone_harms_nobody():
    """Its descriptor was closed while it was told."""

    async def main():
        with woken_by_signals():
            there, here = socket.socketpair()
            here.setblocking(False)
            signal.set_wakeup_fd(here.fileno())
            there.close()
            here.close()

    on_a_plain_loop(main)


def test_in_other_threads_nothing_is_done():
    """Signals are not handled there."""

    async def main():
        with woken_by_signals():
            assert not _wakeup._bells

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    thread.join()


@pytest.mark.parametrize("refusal", [NotImplementedError(), OSError(28, "No space left on device")], ids=repr)
def test_a_loop_without_readers_does_without(refusal):
    """Not every loop can listen to a descriptor, or to one more."""

    class Deaf(asyncio.SelectorEventLoop):
        def add_reader(self, *_):
            raise refusal

    async def main():
        with woken_by_signals():
            assert listener() == NOBODY

    loop = Deaf()
    loop.run_until_complete(main())
    loop.close()


def test_without_descriptors_a_call_goes_on_without(monkeypatch):
    """It may need none itself."""

    def refuse():
        raise OSError(24, "Too many open files")

    async def main():
        with monkeypatch.context() as patched:
            patched.setattr(socket, "socketpair", refuse)
            with woken_by_signals():
                assert listener() == NOBODY

    on_a_plain_loop(main)


def abandoned():
    """A loop that was closed in the middle of a call, and the call."""
    held = []

    async def call():
        with woken_by_signals():
            held.append(asyncio.current_task())
            asyncio.get_running_loop().stop()
            await asyncio.get_running_loop().create_future()

    loop = asyncio.SelectorEventLoop()
    held.append(loop.create_task(call()))
    held[0]._log_destroy_pending = False
    loop.run_forever()
    loop.close()
    return held


def test_what_an_abandoned_loop_has_left_is_taken_down_by_the_next():
    """Which would not be woken else."""
    held = abandoned()

    async def main():
        with woken_by_signals():
            assert list(_wakeup._bells) == [asyncio.get_running_loop()]

    on_a_plain_loop(main)
    assert held
    held.clear()
    gc.collect()


def test_what_an_abandoned_loop_has_left_stays_while_somebody_else_is_told():
    """They may give back what was there before them, as uvloop does, and it must not be closed by then."""
    held = abandoned()
    told = listener()
    there, here = socket.socketpair()
    here.setblocking(False)
    before = signal.set_wakeup_fd(here.fileno())

    async def main():
        with woken_by_signals():
            pass

    on_a_plain_loop(main)
    assert signal.set_wakeup_fd(before) == here.fileno()
    assert (before, listener()) == (told, told)
    there.close()
    here.close()
    on_a_plain_loop(main)
    held.clear()
    gc.collect()


def test_what_was_closed_for_an_abandoned_call_is_not_closed_again():
    """The call may be collected during the next one."""
    held = abandoned()

    async def main():
        with woken_by_signals():
            told = listener()
            held.clear()
            gc.collect()
            assert listener() == told

    on_a_plain_loop(main)


def test_who_was_told_for_a_while_leaves_it_to_the_next_call():
    """A handler of asyncio's, added and removed while a call is on."""

    async def main():
        loop = asyncio.get_running_loop()
        with woken_by_signals():
            told = listener()
            loop.add_signal_handler(signal.SIGUSR1, print)
            loop.remove_signal_handler(signal.SIGUSR1)
            assert listener() == NOBODY
            with woken_by_signals():
                assert listener() == told

    on_a_plain_loop(main)


def test_what_is_collected_in_another_thread_is_left_to_the_main_one():
    """Only that may ask who is told; signals must not be written to a descriptor that is somebody else's by then."""
    held = abandoned()
    told = listener()

    def collect():
        held.clear()
        gc.collect()

    gc.disable()
    thread = threading.Thread(target=collect)
    thread.start()
    thread.join()
    gc.enable()
    assert listener() == told

    async def main():
        with woken_by_signals():
            pass

    on_a_plain_loop(main)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # pytest has a thread of its own
def test_a_fork_of_the_application_leaves_its_parents_alone():
    """They share what listens."""

    async def main():
        seen = asyncio.get_running_loop().create_future()
        signal.signal(signal.SIGUSR1, lambda *_: seen.set_result(None))
        with woken_by_signals():
            (bell,) = _wakeup._bells.values()
            child = os.fork()
            if not child:
                told = signal.set_wakeup_fd(NOBODY)
                bell.close()
                os._exit(told != NOBODY or bool(_wakeup._bells))
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert status == 0
            threading.Timer(0.1, sent_by_another_thread).start()
            await asyncio.wait_for(seen, 20)

    on_a_plain_loop(main)
