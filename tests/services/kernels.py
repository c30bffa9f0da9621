"""A Jupyter kernel as a notebook's front end uses it: cells are run, and the Stop button is pressed."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from jupyter_client import BlockingKernelClient, KernelManager
from jupyter_core.utils import ensure_event_loop

SECONDS = 60


@dataclass
class Outcome:
    """What came of a cell. ended: when, on this machine's monotonic clock."""

    status: str = ""
    text: str = ""
    error: str = ""
    shown: list[dict] = field(default_factory=list)
    updates: list[dict] = field(default_factory=list)
    ended: float = 0.0


class Kernel:
    """A kernel that is there."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self._manager = manager
        self._client = client

    def run(self, code, on_text=lambda text: None):
        """Run a cell to its end; `on_text` is called with what it prints, as it comes."""
        outcome = Outcome()

        def receive(message):
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                outcome.text += content["text"]
                on_text(content["text"])
            elif kind == "error":
                outcome.error, outcome.text = content["ename"], outcome.text + content["evalue"]
            elif kind in {"display_data", "execute_result"}:
                outcome.shown.append(content["data"])
            elif kind == "update_display_data":
                outcome.updates.append(content["data"])

        reply = self._client.execute_interactive(code, output_hook=receive, timeout=SECONDS, allow_stdin=False)
        outcome.status, outcome.ended = reply["content"]["status"], time.monotonic()
        return outcome

    def interrupt(self):
        """Press the Stop button; from any thread."""
        loop = ensure_event_loop()
        try:
            self._manager.interrupt_kernel()
        finally:
            loop.close()


@contextmanager
def kernel(directory):
    """Start a kernel, with its files in `directory`; ends it, and waits until everything of it has ended, too.

    By a signal, as front ends do in the end: asked to leave by itself, ipykernel waits half a minute for children that
    nobody reaps, the fork server among them.
    """
    loop = ensure_event_loop()  # the one that jupyter_client's blocking calls run on, and would keep
    manager = KernelManager(kernel_name="python3", connection_file=str(directory / "kernel.json"))
    manager.kernel_spec.argv[0] = sys.executable
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "TMPDIR": str(directory), "PYTHONPATH": path}
    environment.pop("PYTEST_CURRENT_TEST", None)  # with it, ipykernel would not capture what other processes print
    manager.start_kernel(env=environment)
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=SECONDS)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        process = psutil.Process(manager.provisioner.pid)
        children = process.children(recursive=True)
        process.terminate()
        _, left = psutil.wait_procs(children, timeout=10)
        manager.shutdown_kernel(now=True)
        client.context.destroy()
        manager.context.destroy()
        loop.close()
        asyncio.set_event_loop(None)
    assert not left
