"""The example service on FastAPI, as its reader runs it: over HTTP, and in a browser."""

from __future__ import annotations

import http.client
import importlib.util
from pathlib import Path

import httpx2 as httpx
import pytest

from services.browser import CHROMIUM, Page
from services.servers import uvicorn

EXAMPLES = Path(__file__).parents[2] / "examples"
spec = importlib.util.spec_from_file_location("example_documents", EXAMPLES / "documents.py")
documents = importlib.util.module_from_spec(spec)
spec.loader.exec_module(documents)

WATCHED = """new Promise(done => {
  const seen = [];
  const timer = setInterval(() => {
    const bar = document.getElementById("bar").value;
    if (seen.at(-1) !== bar) seen.push(bar);
    if (/^(ok|error|cancelled)/.test(document.getElementById("state").textContent) || seen.length > LIMIT) {
      clearInterval(timer);
      done(seen);
    }
  }, 5);
})"""
"""The values that the progress bar has until the job has ended, or has moved so often."""


@pytest.fixture(scope="module")
def service():
    """The example on uvicorn."""
    with uvicorn("fastapi_service:app", "--app-dir", EXAMPLES, ready="/metrics") as server:
        yield server


@pytest.fixture
def client(service):
    """A client of it."""
    with httpx.Client(base_url=service.url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def archive(tmp_path):
    """What makes archives of so many documents."""
    return lambda count: documents.sample(tmp_path / f"{count}.zip", count)


def archives_left(service):
    """Files that uploads have left on the server."""
    return [path for path in service.folder.rglob("*.zip") if path.is_file()]


def test_a_job_from_upload_to_results(service, client, archive):
    """202 with an id, a snapshot, events, the results; and its archive is gone."""
    created = client.post("/jobs", content=archive(50).read_bytes())
    job = created.json()
    with client.stream("GET", f"{created.headers['location']}/events") as answer:
        events = [line.removeprefix("event: ") for line in answer.iter_lines() if line.startswith("event: ")]
    snapshot = client.get(f"/jobs/{job['id']}").json()
    results = client.get(f"/jobs/{job['id']}/results").json()

    assert created.status_code == 202
    assert (events[0], events[-1]) == ("pre_execute", "post_execute")
    assert (snapshot["status"], snapshot["completed"], snapshot["percent"]) == ("ok", 50, 100.0)
    assert [result["title"] for result in results] == [f"Page {number}" for number in range(50)]
    assert archives_left(service) == []


def test_a_job_is_cancelled_once(service, client, archive):
    """The second time there is nothing left to cancel, and there are no results."""
    job = client.post("/jobs", content=archive(3_000).read_bytes()).json()
    first = client.delete(f"/jobs/{job['id']}")
    second = client.delete(f"/jobs/{job['id']}")

    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert (second.status_code, second.json()["detail"]) == (
        409,
        "the job cannot be cancelled, its status is cancelled",
    )
    assert client.get(f"/jobs/{job['id']}/results").status_code == 409
    assert "documents_pending 0" in client.get("/metrics").text
    assert archives_left(service) == []


def test_what_is_wrong_with_a_request_is_said(service, client):
    """And nothing of it is left."""
    too_large = (b"x" * (1 << 20) for _ in range(51))  # without a length: it is found out on the way

    assert client.get("/jobs/nothing").status_code == 404
    assert client.post("/jobs", content=b"no zip").status_code == 400
    assert client.post("/jobs", content=too_large).status_code == 413
    assert status_of_a_body_of(1 << 30, service.port) == 413
    assert archives_left(service) == []


def test_one_job_too_many_is_refused(client, archive):
    """503, and when to come again."""
    body = archive(2_000).read_bytes()
    jobs = [client.post("/jobs", content=body) for _ in range(16)]
    refused = client.post("/jobs", content=body)
    for job in jobs:
        client.delete(job.headers["location"])

    assert {job.status_code for job in jobs} == {202}
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1


def status_of_a_body_of(length, port):
    """Announce a body and send nothing of it: the server need not read it to refuse it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("POST", "/jobs")
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    try:
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_browser_shows_progress_until_it_is_done(service, archive, tmp_path):
    """The bar moves, reaches its end, and the results are there."""
    with Page(service.url, tmp_path) as page:
        page.choose_file("#file", archive(300))
        seen = page.evaluate(WATCHED.replace("LIMIT", "1e9"))
        page.evaluate(
            "new Promise(r => { const t = setInterval(() => {"
            " if (document.querySelector('#results tr')) { clearInterval(t); r(); } }, 5); })"
        )

        assert seen == sorted(seen)
        assert len(seen) > 3
        assert seen[-1] == 100
        assert page.evaluate("document.getElementById('state').textContent") == "ok: 300 of 300"


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_browser_cancels(service, client, archive, tmp_path):
    """With the button, in mid-run."""
    with Page(service.url, tmp_path) as page:
        page.choose_file("#file", archive(5_000))
        moved = page.evaluate(WATCHED.replace("LIMIT", "3"))
        page.evaluate("document.getElementById('cancel').click()")
        page.evaluate(WATCHED.replace("LIMIT", "1e9"))
        state = page.evaluate("document.getElementById('state').textContent")

    assert len(moved) > 3
    assert state.startswith("cancelled: ")
    assert "documents_pending 0" in client.get("/metrics").text


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_browser_shows_the_status(service, client, archive, tmp_path):
    """Its policy lets its own script run, and nothing is loaded from elsewhere."""
    job = client.post("/jobs", content=archive(5_000).read_bytes()).json()
    with Page(f"{service.url}/status/", tmp_path) as page:
        shown = page.evaluate(
            "new Promise(r => { const t = setInterval(() => { const row = document.querySelector('tbody tr');"
            " if (row) { clearInterval(t); r(row.cells[0].textContent); } }, 5); })"
        )
    client.delete(f"/jobs/{job['id']}")

    assert shown == job["id"][:8]
