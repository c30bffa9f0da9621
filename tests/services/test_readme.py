"""README.md: each of its blocks of code, pasted as it stands into a new file or cell, runs."""

from __future__ import annotations

import re
import subprocess
import sys
from hashlib import scrypt

import pytest

from pages import blocks_of
from services.kernels import kernel
from services.servers import Server, free_port, uvicorn

BLOCKS = blocks_of("README.md")
FASTAPI = [block for block in BLOCKS if "FastAPI(" in block]
AIOHTTP = [block for block in BLOCKS if "web.Application(" in block]
CELLS = [block for block in BLOCKS if re.search(r"^\S.*\bawait ", block, re.MULTILINE)]
SCRIPTS = [block for block in BLOCKS if "asyncio.run(" in block]

ANSWER = scrypt(b"spam", salt=b"salt", n=2**14, r=8, p=1).hex()


def test_every_block_is_tested():
    """Each is of one kind."""
    assert len(BLOCKS) == sum(map(len, (FASTAPI, AIOHTTP, CELLS, SCRIPTS))) == 5


@pytest.mark.parametrize("block", SCRIPTS, ids=range(len(SCRIPTS)))
def test_a_script_runs(block, tmp_path):
    """And says something."""
    (tmp_path / "pasted.py").write_text(block, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, tmp_path / "pasted.py"], capture_output=True, text=True, timeout=60, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("block", FASTAPI, ids=["fastapi"])
def test_a_service_on_fastapi_answers(block, tmp_path):
    """As its last line asks it."""
    (tmp_path / "service.py").write_text(block, encoding="utf-8")

    with uvicorn("service:app", "--app-dir", tmp_path, ready="/") as server:
        assert server.get("/hash?text=spam") == ANSWER
        assert server.complained == ""


@pytest.mark.parametrize("block", AIOHTTP, ids=["aiohttp"])
def test_a_service_on_aiohttp_answers(block, tmp_path):
    """As its last line asks it, at a port that is free here."""
    port = free_port()
    (tmp_path / "service.py").write_text(block, encoding="utf-8")
    (tmp_path / "start.py").write_text(f"import service\nservice.web.run_app(service.app, port={port})\n")

    with Server(tmp_path / "start", port=port, ready="/") as server:
        assert server.get("/hash?text=spam") == ANSWER


@pytest.mark.parametrize("block", CELLS, ids=["notebook"])
def test_a_cell_runs(block, tmp_path):
    """In a kernel of its own."""
    with kernel(tmp_path) as fresh:
        ran = fresh.run(block)

    assert ran.status == "ok", ran.text
    assert ran.shown or ran.updates
