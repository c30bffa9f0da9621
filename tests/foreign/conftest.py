"""The suites of others take a minute, so they run only when this folder is asked for: `pytest tests/foreign`."""

from __future__ import annotations

from pathlib import Path


def pytest_ignore_collect(collection_path, config):
    """Leave out what stands here, unless an argument leads here."""
    here = Path(__file__).parent
    asked = [config.invocation_params.dir / arg.partition("::")[0] for arg in config.args]
    return None if any(path.resolve().is_relative_to(here) for path in asked) else True
