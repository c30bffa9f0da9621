"""docs/notebooks.md: each of its blocks, pasted as it stands into a cell of a fresh notebook, runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.kernels import kernel

PAGE = Path(__file__).parents[2] / "docs" / "notebooks.md"
CELLS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", CELLS, ids=lambda code: code.rstrip().rsplit("\n", 1)[-1])
def test_a_block_of_the_page_runs_in_a_cell(tmp_path, code):
    """In a kernel of its own: it needs nothing of the blocks before it."""
    with kernel(tmp_path) as fresh:
        ran = fresh.run(code)

    assert ran.status == "ok", ran.text
    assert ran.shown or ran.updates
