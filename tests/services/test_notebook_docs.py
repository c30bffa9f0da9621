"""docs/notebooks.md: each of its blocks, pasted as it stands into a cell of a fresh notebook, runs."""

from __future__ import annotations

import pytest

from pages import blocks_of
from services.kernels import kernel

CELLS = blocks_of("docs/notebooks.md")
FORGET = "for _name in {*globals()} - _first:\n    del globals()[_name]"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A kernel for all of them: it is its start that takes long."""
    with kernel(tmp_path_factory.mktemp("kernel")) as fresh:
        fresh.run("_first = {*globals(), '_first'}")
        yield fresh


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Workers outlive a cell; what is left is asked when the kernel is ended."""


@pytest.mark.parametrize("code", CELLS, ids=lambda code: code.rstrip().rsplit("\n", 1)[-1])
def test_a_block_of_the_page_runs_in_a_cell(notebook, code):
    """Where all names are forgotten: it needs nothing of the blocks before it."""
    assert notebook.run(FORGET).status == "ok"
    ran = notebook.run(code)

    assert ran.status == "ok", ran.text
    assert ran.shown or ran.updates
