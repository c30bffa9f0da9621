"""Programs that are measured in an interpreter of their own, where nothing was imported or allocated before them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

__all__ = ("printed",)


async def printed(program: str) -> str:
    """What a program prints in a new interpreter, which finds what this one finds."""
    paths = [path or str(Path.cwd()) for path in sys.path]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"import sys; sys.path[:] = {paths!r}\n{program}", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"a measured program failed with exit code {process.returncode}; its traceback is above")
    return output.decode()
