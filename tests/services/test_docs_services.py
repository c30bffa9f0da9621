"""Each block of code of the page about services, pasted as it stands into a new file, runs."""

from __future__ import annotations

import re
import subprocess
import sys
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from pages import blocks_of
from services.servers import uvicorn

BLOCKS = blocks_of("docs/services.md")
CURL = re.compile(r'^# curl (?:-X (\w+) )?"(.+)"$', re.MULTILINE)
SERVICES = [block for block in BLOCKS if "\napp = " in block]
SCRIPTS = [block for block in BLOCKS if "\napp = " not in block]


@pytest.mark.parametrize("block", SERVICES, ids=range(len(SERVICES)))
def test_a_service_of_the_page_answers_what_the_page_asks(block, tmp_path):
    """With the commands that stand below it."""
    (tmp_path / "service.py").write_text(block, encoding="utf-8")
    commands = CURL.findall(block)
    assert commands
    with uvicorn("service:app", "--app-dir", tmp_path, ready="/") as server:
        for method, url in commands:
            parts = urlsplit(url)
            answer = httpx.request(method or "GET", f"{server.url}{parts.path}?{parts.query}", trust_env=False)
            assert answer.is_success, answer.text
        assert server.complained == ""


@pytest.mark.parametrize("block", SCRIPTS, ids=range(len(SCRIPTS)))
def test_a_script_of_the_page_runs(block, tmp_path):
    """And says something."""
    (tmp_path / "service.py").write_text(block, encoding="utf-8")
    run = subprocess.run(
        [sys.executable, tmp_path / "service.py"], capture_output=True, text=True, timeout=60, check=False
    )

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout
