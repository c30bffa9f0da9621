"""What was measured, at the end."""

from __future__ import annotations

_notes: list[str] = []


def note(line):
    """Have a line printed when all tests are done."""
    _notes.append(line)


def pytest_terminal_summary(terminalreporter):
    """Print the numbers."""
    if _notes:
        terminalreporter.section("what was measured")
        for line in _notes:
            terminalreporter.write_line(line)
