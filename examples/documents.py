"""What the example services do with a document: parse its HTML, count its words and links. No web framework here.

Workers import this module to find the function. One that also made the web application would have every worker import
the framework, which takes longer to start and more memory.

    python examples/documents.py
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import zipfile
from collections import Counter
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from amorsize_async import execute_async

WORD = re.compile(r"[^\W\d_]{2,}")
Document = tuple[str, str]
"""A document of an archive: where the archive is, and the document's name in there."""


class Reader(HTMLParser):
    """Collects the text, the title and the number of links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.title = ""
        self.links = 0
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count a link; remember what is open."""
        self.links += tag == "a"
        self._inside = [tag] if tag in {"title", "script", "style"} else []

    def handle_endtag(self, tag: str) -> None:
        """Nothing that matters is open any more."""
        self._inside = []

    def handle_data(self, data: str) -> None:
        """Keep text, unless it is code."""
        if self._inside == ["title"]:
            self.title += data
        elif not self._inside:
            self.text.append(data)


def documents_of(archive: str) -> list[Document]:
    """The documents of a zip archive; raises zipfile.BadZipFile."""
    with zipfile.ZipFile(archive) as found:
        return [(archive, info.filename) for info in found.infolist() if not info.is_dir()]


def unpacked_size(archive: str) -> int:
    """Bytes that a zip archive would unpack to; raises zipfile.BadZipFile."""
    with zipfile.ZipFile(archive) as found:
        return sum(info.file_size for info in found.infolist())


@lru_cache(maxsize=1)
def opened(archive: str) -> zipfile.ZipFile:
    """An archive, open for the next of its documents: to read its table of contents takes as long as a document."""
    return zipfile.ZipFile(archive)


def summarise(document: Document) -> dict[str, Any]:
    """Read one document of its archive, in a worker, and sum it up."""
    archive, name = document
    text = opened(archive).read(name).decode("utf-8", errors="replace")
    reader = Reader()
    reader.feed(text)
    words = WORD.findall(" ".join(reader.text).lower())
    return {
        "name": name,
        "title": reader.title.strip(),
        "words": len(words),
        "links": reader.links,
        "commonest": Counter(words).most_common(5),
    }


def sample(path: Path, count: int, words: int = 2_000) -> Path:
    """Write a zip archive of made-up documents, to try things out."""
    vocabulary = Counter(WORD.findall((__doc__ or "").lower()))
    body = " ".join(list(vocabulary) * (words // len(vocabulary) + 1))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            page = f"<title>Page {number}</title><p>{body}</p><a href='/{number + 1}'>next</a>"
            archive.writestr(f"{number}.html", page)
    return path


async def main() -> None:
    """Sum up the documents of a sample."""
    with tempfile.TemporaryDirectory() as folder:
        archive = await asyncio.to_thread(sample, Path(folder) / "sample.zip", 200)
        found = await asyncio.to_thread(documents_of, str(archive))
        summaries, report = await execute_async(summarise, found, return_report=True)
    print(f"{len(summaries)} documents, {sum(summary['words'] for summary in summaries):,} words")
    print(f"{summaries[0]['title']}: {summaries[0]['commonest']}")
    print(report.explain())


if __name__ == "__main__":
    asyncio.run(main())
