"""docs/aiohttp.md: each of its blocks, pasted as it stands into a file, is a service."""

from __future__ import annotations

import pytest

from pages import blocks_of
from services.clients import asked, wait_for
from services.servers import Server, free_port

BLOCKS = blocks_of("docs/aiohttp.md")


@pytest.fixture
def pasted(tmp_path, monkeypatch):
    """What starts a block as a server."""

    def start(block, ready):
        (tmp_path / "service.py").write_text(block, encoding="utf-8")
        port = free_port()
        monkeypatch.setenv("PORT", str(port))
        return Server(tmp_path / "service", port=port, ready=ready)

    return start


def test_the_handler_that_computes_does(pasted):
    """As its last line asks for it."""
    computes, _ = BLOCKS
    with pasted(computes, "/longest?limit=2") as server:
        assert server.get("/longest?limit=1000") == 178


def test_the_job_outlives_its_request_and_is_cancelled(pasted):
    """Made, looked at, followed, cancelled."""
    _, outlives = BLOCKS
    with pasted(outlives, "/jobs/none") as server:
        status, _, created = asked(server.port, "POST", "/jobs?items=100000")
        path = f"/jobs/{created['id']}"
        assert status == 202
        wait_for(lambda: server.get(path)["status"] == "running")
        assert asked(server.port, "DELETE", path)[2] == {"cancelled": True}
        assert "event: post_execute" in server.get(f"{path}/events")
        assert server.get(path)["status"] == "cancelled"
