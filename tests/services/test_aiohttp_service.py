"""The example service on aiohttp, as its reader starts it: jobs from upload to results, and every way to go wrong."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from services.clients import asked, wait_for
from services.servers import Server, free_port

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.append(str(EXAMPLES))

from documents import sample  # noqa: E402 - from where the example itself has it


@pytest.fixture(scope="module")
def service():
    """The example, on a free port."""
    port = free_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PORT", str(port))
        server = Server(EXAMPLES / "aiohttp_service", port=port)
    with server:
        yield server
        folder = server.folder
        assert not list(folder.glob("documents-*/*.zip"))
        assert server.complained == ""


def ask(service, method, path, body=None, **headers):
    """Give the status, the headers and the JSON of an answer."""
    return asked(service.port, method, path, body, **headers)


@pytest.fixture
def archive(tmp_path):
    """What makes the bytes of a zip archive of documents."""
    return lambda count, words=200: sample(tmp_path / "some.zip", count, words).read_bytes()


def test_an_upload_becomes_a_job_with_results(service, archive):
    """202 with a place to look; then a snapshot, live events, and the results."""
    status, headers, job = ask(service, "POST", "/jobs", archive(30))
    assert (status, headers["Location"]) == (202, f"/jobs/{job['id']}")

    _, _, events = ask(service, "GET", f"/jobs/{job['id']}/events")
    assert "event: post_execute" in events
    _, _, results = ask(service, "GET", f"/jobs/{job['id']}/results")
    assert len(results) == 30
    assert results[7]["title"] == "Page 7"
    status, _, snapshot = ask(service, "GET", f"/jobs/{job['id']}")
    assert (status, snapshot["status"], snapshot["percent"]) == (200, "ok", 100)


def test_a_job_is_cancelled_once(service, archive):
    """The second time there is nothing to cancel, and it has no results."""
    _, _, job = ask(service, "POST", "/jobs", archive(3000, 5000))
    path = f"/jobs/{job['id']}"
    status, _, snapshot = ask(service, "DELETE", path)
    assert (status, snapshot["status"]) == (200, "cancelled")

    status, _, answer = ask(service, "DELETE", path)
    assert (status, "status is cancelled" in answer["detail"]) == (409, True)
    assert ask(service, "GET", f"{path}/results")[0] == 409
    wait_for(lambda: "documents_busy 0" in ask(service, "GET", "/metrics")[2])


def test_one_request_gives_the_results_at_once(service, archive):
    """And leaves no archive behind."""
    status, _, results = ask(service, "POST", "/summaries", archive(5))
    assert (status, [result["links"] for result in results]) == (200, [1] * 5)


WRONG = [
    ("POST", "/jobs", b"no zip", 400, "not a zip archive"),
    ("POST", "/jobs", None, 400, "not a zip archive"),
    ("GET", "/jobs/none", None, 404, "no job 'none'"),
    ("GET", "/jobs/none/events", None, 404, "no job 'none'"),
    ("DELETE", "/jobs/none", None, 404, "no job 'none'"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case[0]} {case[1]} with {case[2]}")
def test_what_a_client_does_wrong_is_said(service, case):
    """In JSON, with the way out."""
    method, path, body, status, words = case
    answered, _, answer = ask(service, method, path, body)
    assert (answered, words in answer["detail"]) == (status, True)


def test_an_upload_that_is_too_large_is_refused_before_it_is_sent(service):
    """By its announced length; and the same by what has come, where no length is told."""
    status, _, answer = ask(service, "POST", "/jobs", None, **{"Content-Length": str(60 << 20)})
    assert (status, "larger than 52,428,800 bytes" in answer["detail"]) == (413, True)
    pieces = (bytes(1 << 20) for _ in range(51))
    status, _, answer = ask(service, "POST", "/jobs", pieces, **{"Transfer-Encoding": "chunked"})
    assert (status, "larger than 52,428,800 bytes" in answer["detail"]) == (413, True)


def test_an_archive_that_unpacks_to_too_much_is_refused(service, tmp_path):
    """A small archive can hold a large nothing."""
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        for number in range(6):
            bomb.writestr(f"{number}.html", bytes(100 << 20))
    status, _, answer = ask(service, "POST", "/jobs", (tmp_path / "bomb.zip").read_bytes())
    assert (status, "larger than 524,288,000 bytes" in answer["detail"]) == (413, True)


def test_the_page_and_the_numbers_are_there(service):
    """For a browser, and for Prometheus."""
    assert "<html" in ask(service, "GET", "/")[2].lower()
    assert "# TYPE documents_pending gauge" in ask(service, "GET", "/metrics")[2]
