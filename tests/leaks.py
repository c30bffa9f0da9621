"""What a test may leave behind: nothing. Snapshots of what this process holds, and the fixture that compares them.

Nothing here knows the library under test, and nothing here waits longer than `GRACE`.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path

import psutil
import pytest

KINDS = ("child", "thread", "descriptor", "file", "log")

GRACE = 5.0
"""Seconds that stragglers get to end. A clean test waits for none of them, so a long grace costs only a failing one."""

SLICE = 0.02
"""Seconds of one wait for a straggler, before all are looked at again."""

SHARED_MEMORY = Path("/dev/shm")
DESCRIPTORS = Path("/proc/self/fd")
MARKER = "LEAK_CHECK_SESSION"


def isolate() -> None:
    """Give this process what tells its own leaks from those of other test runs on this machine. Call it once, early.

    A private directory for temporary files makes every file in it ours. A mark in the environment is inherited by each
    process that is started, and stays with it when its parent dies, so that orphans are found too.
    """
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    # A short name: a socket's path ends up below it, and may have 104 bytes on macOS.
    private = tempfile.mkdtemp(prefix="t-")
    # After multiprocessing has removed its own directory in it (at -100), and never in a forked child.
    Finalize(None, shutil.rmtree, [private], {"ignore_errors": True}, exitpriority=-200)
    os.environ["TMPDIR"] = tempfile.tempdir = private
    os.environ[MARKER] = uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What this process holds at one moment."""

    children: frozenset[psutil.Process]
    threads: frozenset[threading.Thread]
    descriptors: dict[int, str]
    files: frozenset[str]

    @classmethod
    def take(cls) -> Snapshot:
        """Look at this process now."""
        return cls(_children(), frozenset(threading.enumerate()), _descriptors(), _files())

    def since(self, before: Snapshot) -> Snapshot:
        """Keep what was not there `before`."""
        surplus = Counter(self.descriptors.values())
        surplus.subtract(before.descriptors.values())
        return Snapshot(
            self.children - before.children,
            self.threads - before.threads,
            {fd: to for fd, to in self.descriptors.items() if surplus[to] > 0 and before.descriptors.get(fd) != to},
            frozenset(str(SHARED_MEMORY / name) for name in self.files - before.files),  # a path stays what it is
        )

    def without(self, kinds: set[str]) -> Snapshot:
        """Drop the `kinds` that a test may leave behind."""
        return Snapshot(
            frozenset() if "child" in kinds else self.children,
            frozenset() if "thread" in kinds else self.threads,
            {} if "descriptor" in kinds else self.descriptors,
            frozenset() if "file" in kinds else self.files,
        )

    def __bool__(self) -> bool:
        return bool(self.children or self.threads or self.descriptors or self.files)

    def lines(self) -> list[str]:
        """Name each thing, one a line."""
        return [
            *(f"child: {_describe(child)}" for child in self.children),
            *(f"thread: {thread!r}" for thread in self.threads),
            *(f"descriptor: {fd} -> {target}" for fd, target in self.descriptors.items()),
            *(f"file: {path}" for path in self.files),
        ]


def left_since(before: Snapshot, allowed: set[str], grace: float) -> Snapshot:
    """Return what is left since `before`, after waiting at most `grace` seconds for it to go."""
    deadline = time.monotonic() + grace
    while left := _ours(Snapshot.take().since(before).without(allowed)):
        if time.monotonic() > deadline:
            break
        _let_go(left)
    return left


def clear_away(left: Snapshot) -> None:
    """End the processes and remove the files that were left, so that they fail one test and not those after it."""
    for child in left.children:
        with suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(left.children, timeout=GRACE)
    for path in map(Path, left.files):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def complaints():
    """Collect what asyncio and concurrent.futures log as errors: exceptions never retrieved, callbacks that raised."""
    messages: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: messages.append(record.getMessage())
    loggers = [logging.getLogger("asyncio"), logging.getLogger("concurrent.futures")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield messages
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


@pytest.fixture(autouse=True)
def nothing_left_behind(request):
    """Fail a test that leaves a process, a thread, a descriptor, a file or an error message behind.

    It is set up before the function's event loop, for which pytest-asyncio asks after all autouse fixtures, so it
    judges when the loop is closed. What fixtures of a wider scope hold was there before, and may stay.
    """
    allowed = {kind for kind in KINDS if request.node.get_closest_marker(f"leaks_{kind}")}
    before = Snapshot.take()
    with complaints() as messages:
        yield
        # What the test let go of speaks up now (ResourceWarning, "never awaited"), not in a later test. The young
        # generations hold it, and cost a hundredth of them all.
        gc.collect(1)
        left = left_since(before, allowed, GRACE)
    lines = left.lines() + ([] if "log" in allowed else [f"log: {message}" for message in messages])
    if left:
        clear_away(left)
    if lines:
        pytest.fail("the test left behind\n  " + "\n  ".join(lines), pytrace=False)


def _children() -> frozenset[psutil.Process]:
    """All descendants, alive or unreaped, and the orphans among them, without multiprocessing's two helpers."""
    found = set(psutil.Process().children(recursive=True))
    for pid in _marked_pids():
        with suppress(psutil.Error):
            found.add(psutil.Process(pid))
    return frozenset(child for child in found if not _is_helper(child))


def _marked_pids() -> list[int]:
    """Processes that inherited the mark of `isolate`: they are ours, whoever their parent is now."""
    mark = os.environ.get(MARKER)
    if mark is None or not DESCRIPTORS.exists():
        return []
    needle = f"{MARKER}={mark}".encode()
    pids = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if needle in (entry / "environ").read_bytes() and int(entry.name) != os.getpid():
                pids.append(int(entry.name))
    return pids


def _is_helper(child: psutil.Process) -> bool:
    """Whether this is multiprocessing's fork server or resource tracker, which live as long as the process.

    The workers of a fork server share its command line, being forks of it: only a direct child can be the server.
    """
    with suppress(psutil.Error):
        if child.ppid() != os.getpid():
            return False
        if child.pid in _helper_pids():
            return True
        command = " ".join(child.cmdline())
        return any(f"from multiprocessing.{name} import main" in command for name in ("forkserver", "resource_tracker"))
    return False


def _helper(module: str, instance: str) -> object:
    """The singleton of a multiprocessing module that starts a helper; None while nobody has imported that module."""
    return getattr(sys.modules.get(f"multiprocessing.{module}"), instance, None)


def _helper_pids() -> set[int | None]:
    server, tracker = _helper("forkserver", "_forkserver"), _helper("resource_tracker", "_resource_tracker")
    return {getattr(server, "_forkserver_pid", None), getattr(tracker, "_pid", None)} - {None}


def _helper_descriptors() -> set[int | None]:
    """The pipes that keep the two helpers alive: opened at first use, never closed."""
    server, tracker = _helper("forkserver", "_forkserver"), _helper("resource_tracker", "_resource_tracker")
    return {getattr(server, "_forkserver_alive_fd", None), getattr(tracker, "_fd", None)}


def _descriptors() -> dict[int, str]:
    """Each open descriptor with what it leads to; empty where the system does not tell."""
    if not DESCRIPTORS.exists():
        return {}
    helpers = _helper_descriptors()
    # The heap under multiprocessing.Value and Array keeps its small arenas for the next one, by design.
    # And libffi, under ctypes, keeps itself open for what it makes of callbacks.
    kept = (f"/pym-{os.getpid()}-", "/libffi.so")
    found = {}
    for name in os.listdir(DESCRIPTORS):  # noqa: PTH208 - a plain name a descriptor, a thousand times a run
        with suppress(OSError):  # the descriptor of this very listing is gone by now
            target = os.readlink(DESCRIPTORS / name)  # noqa: PTH115 - the target need not be a path
            if int(name) not in helpers and not any(part in target for part in kept):
                found[int(name)] = target
    return found


def _files() -> frozenset[str]:
    """What is in shared memory, as bare names, and temporary files where `isolate` gave them a place, as paths.

    Nothing is told apart here: killed programs of others may have left thousands in shared memory, each test looks
    twice, and only what is new by then (`since`) is worth a look.
    """
    return frozenset(_names_in(SHARED_MEMORY) + (_temporary_paths() if MARKER in os.environ else []))


def _temporary_paths() -> list[str]:
    folder = tempfile.gettempdir()
    return [f"{folder}/{name}" for name in _names_in(folder)]


def _names_in(folder: Path | str) -> list[str]:
    """What a folder holds; nothing where there is no such folder."""
    with suppress(FileNotFoundError):
        return os.listdir(folder)  # noqa: PTH208 - as above
    return []


def _let_go(left: Snapshot) -> None:
    """Give what is `left` one slice of time to end, and wake when the first of it does."""
    gc.collect()
    # Reaps the children that multiprocessing started; psutil must not, or it would steal their exit codes.
    multiprocessing.active_children()
    indirect = [child for child in left.children if not _is_direct(child)]
    if left.threads:
        next(iter(left.threads)).join(SLICE)
    elif indirect:
        psutil.wait_procs(indirect, timeout=SLICE)
    else:
        time.sleep(SLICE)  # nothing tells when a descriptor is closed


def _is_direct(child: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return child.ppid() == os.getpid()
    return False


def _describe(child: psutil.Process) -> str:
    try:
        with child.oneshot():
            return f"pid {child.pid}, {child.status()}, parent {child.ppid()}: {' '.join(child.cmdline())[:120]}"
    except psutil.Error:
        return f"pid {child.pid}"


def _ours(left: Snapshot) -> Snapshot:
    """Drop the files that are nobody's leak: multiprocessing's own, and other programs' shared memory in use."""
    own = multiprocessing.current_process()._config.get("tempdir")  # removed by multiprocessing when the process ends
    files = frozenset(path for path in left.files if path != own and not _is_of_another_program(Path(path)))
    return Snapshot(left.children, left.threads, left.descriptors, files)


def _is_of_another_program(path: Path) -> bool:
    """Whether this is shared memory that another program has. What joblib has there is never ours."""
    return path.parent == SHARED_MEMORY and (path.name.startswith("joblib_") or _is_used_elsewhere(path))


def _is_used_elsewhere(path: Path) -> bool:
    """Whether another program maps the file: by inode, since a semaphore is mapped under a name that it had before."""
    ours = {os.getpid(), *_marked_pids(), *(child.pid for child in psutil.Process().children(recursive=True))}
    try:
        needle = f" {path.stat().st_ino} ".encode()
    except OSError:  # gone by now
        return True
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            maps = (entry / "maps").read_bytes() if int(entry.name) not in ours else b""
            if any(needle in line and bytes(SHARED_MEMORY) in line for line in maps.splitlines()):
                return True
    return False
