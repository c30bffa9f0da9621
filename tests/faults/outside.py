"""Whole programs in sessions of their own, watched from outside: a hang is ended and told of, never waited for."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

import psutil

PROGRAMS = Path(__file__).parent / "programs"
MARK = "FAULTS_PROGRAM"


class Program:
    """One of `programs/`, started with its arguments; what it prints goes to files, so that no orphan holds a pipe."""

    def __init__(self, name, *arguments):
        # A short name: the fork server's socket ends up below it.
        self.folder = Path(tempfile.mkdtemp(prefix="p-"))
        self._mark = uuid.uuid4().hex
        environment = {
            **os.environ,
            MARK: self._mark,
            "TMPDIR": str(self.folder),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, str(PROGRAMS / f"{name}.py"), *map(str, arguments)]
        with (self.folder / "out").open("w") as out, (self.folder / "err").open("w") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                cwd=self.folder,  # a fork server imports from where it is, which must not be the checkout
                start_new_session=True,
            )
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for process in self.alive():
            with suppress(psutil.Error):
                if "resource_tracker" not in " ".join(process.cmdline()):
                    process.kill()
        self.process.wait(10)
        # The resource tracker removes the semaphores of the dead, then ends by itself.
        psutil.wait_procs(self.alive(), timeout=5)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def printed(self):
        """What it wrote to stdout."""
        return (self.folder / "out").read_text()

    @property
    def complained(self):
        """What it wrote to stderr, its workers included."""
        return (self.folder / "err").read_text()

    def signal(self, how, *, group=False):
        """Send it a signal; `group`: to all processes of its group, as a terminal does."""
        (os.killpg if group else os.kill)(self.pid, how)

    def ends_within(self, seconds):
        """Wait until it has ended, for so many seconds at most; whether it has."""
        handle = os.pidfd_open(self.pid)
        try:
            return bool(select.select([handle], [], [], seconds)[0])
        finally:
            os.close(handle)

    def ended(self, seconds):
        """Wait until it has ended, and give the seconds that took; after so many it is killed, with its group."""
        began = time.perf_counter()
        in_time = self.ends_within(seconds)
        elapsed = time.perf_counter() - began
        if not in_time:
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(10)
        if not in_time:
            raise TimeoutError(f"it had not ended after {seconds} s; it said\n{self.complained}")
        return elapsed

    def alive(self):
        """All processes that it started and that run, whoever their parent is now; itself included."""
        needle = f"{MARK}={self._mark}".encode()
        return [process for process in map(_process, _pids_with(needle)) if process is not None and _runs(process)]

    def orphans(self, seconds):
        """The processes that are left `seconds` after it has ended, and the seconds until there were none."""
        began = time.perf_counter()
        while (alive := self.alive()) and time.perf_counter() - began < seconds:
            time.sleep(0.01)  # nobody tells when an orphan dies
        return alive, time.perf_counter() - began


def _pids_with(needle):
    """Processes with a text in their environment: it is inherited, and stays when the parent dies."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if needle in (entry / "environ").read_bytes():
                yield int(entry.name)


def _process(pid):
    with suppress(psutil.Error):
        return psutil.Process(pid)
    return None


def _runs(process):
    """Whether it runs; an orphan that nobody reaps stays as a zombie where PID 1 is no real init."""
    with suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False
