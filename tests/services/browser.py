"""A headless Chromium, driven over its DevTools protocol: enough to open a page, hand it a file and watch it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from contextlib import ExitStack, suppress

from websockets.sync.client import connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 30


class Page:
    """A page in a browser of its own; entered, it is open."""

    def __init__(self, url, folder):
        self._url = url
        self._folder = folder
        self._numbers = itertools.count(1)

    def __enter__(self):
        command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += ["--disable-breakpad", "--remote-debugging-port=0", f"--user-data-dir={self._folder / 'profile'}"]
        environment = {**os.environ, "TMPDIR": str(self._folder), "HOME": str(self._folder)}
        with (self._folder / "browser.log").open("w") as log:
            self._process = subprocess.Popen(
                [*command, "about:blank"], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        self._stack = ExitStack()
        self._stack.callback(self._end)
        try:
            self._tab = self._stack.enter_context(connect(self._tab_url(), max_size=None, proxy=None))
            self.call("Page.enable")
            self.call("Page.navigate", url=self._url)
            self.evaluate("new Promise(r => document.readyState === 'complete' ? r() : addEventListener('load', r))")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc):
        self._stack.close()

    def _end(self):
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def _tab_url(self):
        """Where the first tab listens; the browser writes its port to a file when it knows it."""
        file, end = self._folder / "profile" / "DevToolsActivePort", time.monotonic() + SECONDS
        while not file.exists() or not file.read_text().strip():
            if time.monotonic() > end:
                raise TimeoutError((self._folder / "browser.log").read_text())
            time.sleep(0.02)
        port = int(file.read_text().split()[0])
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS) as answer:
            return next(tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page")

    def call(self, method, **parameters):
        """Call a method of the protocol, and give its result."""
        number = next(self._numbers)
        self._tab.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._tab.recv(timeout=SECONDS))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(message["error"])
                return message["result"]

    def evaluate(self, script):
        """The value of an expression on the page, when it has one."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def choose_file(self, selector, path):
        """Hand a file to an input, as a person does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
