"""The leak check itself: an inner run of pytest in which each test leaves one thing behind, or seems to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import leaks

CONFTEST = '''
import leaks
from leaks import nothing_left_behind

leaks.isolate()


def pytest_runtest_setup(item):
    """What is left for good is as surely there after a moment as after a second."""
    leaks.GRACE = 5.0 if "clean" in item.name else 0.1
'''

CASES = """
import asyncio, concurrent.futures, logging, multiprocessing, os, signal, subprocess, sys, tempfile, threading
from multiprocessing.shared_memory import SharedMemory

import pytest

kept = []
forever = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def start(method, target=signal.pause):
    process = multiprocessing.get_context(method).Process(target=target, daemon=True)
    process.start()
    kept.append(process)
    return process


def hang():
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()


# Each of these must fail, and name the thing.

def test_leaks_thread():
    hang()

def test_leaks_child_by_fork():
    start("fork")

def test_leaks_child_by_spawn():
    start("spawn")

def test_leaks_child_by_forkserver():
    start("forkserver")

def test_leaks_child_by_subprocess():
    kept.append(subprocess.Popen(forever, stdin=subprocess.PIPE))

def test_leaks_child_unreaped():
    if os.fork() == 0:
        os._exit(0)

def test_leaks_child_orphaned():
    parent = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])"
    subprocess.run([sys.executable, "-c", parent], check=True)

def test_leaks_descriptor_of_pipe():
    kept.append(os.pipe())

def test_leaks_descriptor_of_file():
    kept.append(os.open(os.devnull, os.O_RDONLY))

async def test_leaks_descriptor_of_loop():
    kept.append(asyncio.new_event_loop())

def test_leaks_file_in_shared_memory():
    memory = SharedMemory(create=True, size=16)
    memory.close()

def test_leaks_file_of_multiprocessing():
    tempfile.mkdtemp(prefix="pymp-")

async def test_leaks_thread_from_coroutine():
    hang()

async def test_leaks_log():
    asyncio.get_running_loop().call_exception_handler({"message": "somebody forgot an exception"})


# Each of these must pass.

def test_clean():
    pass

def test_clean_with_service_processes():
    process = start("forkserver", os.getpid)
    process.join()
    process.close()

def test_clean_with_heap_of_multiprocessing():
    multiprocessing.get_context("forkserver").Value("q", 0, lock=False)

def test_clean_with_straggling_thread():
    threading.Timer(0.1, os.getpid).start()

def test_clean_with_straggling_child():
    kept.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.1)"]))
    threading.Thread(target=kept[-1].wait).start()

def test_clean_with_unjoined_child_of_multiprocessing():
    multiprocessing.get_context("fork").Process(target=os.getpid).start()

async def test_clean_coroutine_with_default_executor():
    await asyncio.to_thread(os.getpid)

async def test_clean_coroutine_with_what_closes_with_the_loop():
    async def lasting():
        pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver"))
        pool.submit(os.getpid).result()
        try:
            yield
        finally:
            await asyncio.to_thread(pool.shutdown)

    kept.append(lasting())
    await anext(kept[-1])

@pytest.mark.leaks_thread
def test_clean_by_leave_of_its_marker():
    hang()


# Last, for its thread goes on to notice that its worker was killed.

def test_leaks_child_in_pool():
    pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("forkserver"))
    pool.submit(os.getpid).result()
    kept.append(pool)
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Run the cases above once; give what pytest printed."""
    folder = tmp_path_factory.mktemp("leaks")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_cases.py").write_text(CASES)
    markers = "\n".join(f"    leaks_{kind}: by leave" for kind in leaks.KINDS)
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = ignore\n"
        f"markers =\n{markers}\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "no:anyio", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(leaks.__file__).parent)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return run.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="the cases use fork, /proc and /dev/shm")
@pytest.mark.parametrize("case", re.findall(r"def test_(leaks_\w+)\(", CASES))
def test_what_is_left_behind_fails_its_test(report, case):
    """A test that leaves something behind ends in an error whose message names the kind of it."""
    kind = case.split("_")[1]
    message = re.search(rf"ERROR at teardown of test_{case} _+\n(.*?)(?=\n[_=]{{5,}})", report, re.DOTALL)

    assert message is not None, report
    assert f"\n  {kind}: " in message[1]


@pytest.mark.skipif(sys.platform != "linux", reason="the cases use fork, /proc and /dev/shm")
@pytest.mark.parametrize("case", re.findall(r"def test_(clean\w*)\(", CASES))
def test_what_ends_in_time_passes(report, case):
    """A test that cleans up, or whose stragglers end within the grace, is left alone."""
    assert f"PASSED test_cases.py::test_{case}\n" in report
    assert f"ERROR test_cases.py::test_{case} " not in report


def test_nothing_is_left_of_a_leak_for_the_next_test():
    """A descriptor that was there before a test is not laid to its charge."""
    read, write = os.pipe()
    before = leaks.Snapshot.take()
    os.close(read)
    os.close(write)

    assert not leaks.left_since(before, allowed=set(), grace=0.0)
