"""How long it takes to be there: the import, the first call with cold workers, the second one."""

from __future__ import annotations

import json
import statistics

from ..answers import Answer, Promise, Settings, Table
from ..programs import printed

__all__ = ("ask",)

IMPORTS = {
    "import": "from amorsize_async import *",
    "asyncio": "import asyncio",
    "stdlib": "import asyncio, concurrent.futures.process, multiprocessing.context",
}
"""Our import, and for comparison that of asyncio alone, and that of the parts of the standard library it stands on."""

TIMED = """
import time
began = time.perf_counter()
{statement}
print(time.perf_counter() - began)
"""

OURS = """
import asyncio, json, time
from amorsize_async import execute_async

async def main():
    for _ in range(2):
        began = time.perf_counter()
        await execute_async(abs, [1])
        laps.append(time.perf_counter() - began)

laps = []
asyncio.run(main())
print(json.dumps(laps))
"""

PEER = """
import json, multiprocessing, time
from concurrent.futures import ProcessPoolExecutor

method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
laps = []
began = time.perf_counter()
with ProcessPoolExecutor({workers}, mp_context=multiprocessing.get_context(method)) as pool:
    for _ in range(2):
        list(pool.map(abs, [1]))
        laps.append(time.perf_counter() - began)
        began = time.perf_counter()
print(json.dumps(laps))
"""


async def ask(settings: Settings) -> Answer:
    """Start new interpreters, in turn, each round one of a kind; the medians of the rounds are compared."""
    seconds: dict[str, list[float]] = {}
    for _ in range(max(3, settings.rounds)):
        for name, statement in IMPORTS.items():
            seconds.setdefault(name, []).append(float(await printed(TIMED.format(statement=statement))))
        for name, program in {"ours": OURS, "peer": PEER.format(workers=settings.workers)}.items():
            cold, warm = json.loads(await printed(program))
            seconds.setdefault(f"{name} cold", []).append(cold)
            seconds.setdefault(f"{name} warm", []).append(warm)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return Answer([_table(median)], _promises(median), [{"seconds": seconds}])


def _table(median: dict[str, float]) -> Table:
    def row(title: str, mine: str, against: str, other: str) -> list[str]:
        return [title, f"{median[mine] / median[against]:.2f}", f"{median[mine] * 1e3:.1f}", other]

    rows = [
        row("import of all public names", "import", "asyncio", "import asyncio"),
        row("the same", "import", "stdlib", "import of the parts of the standard library it needs"),
        row("first call, cold", "ours cold", "peer cold", "ProcessPoolExecutor.map, same start method"),
        row("second call, warm", "ours warm", "peer warm", "ProcessPoolExecutor.map, same start method"),
    ]
    return Table("from nothing to a result, one item", ("what", "ratio", "ms here", "against"), rows)


def _promises(median: dict[str, float]) -> list[Promise]:
    return [
        Promise("import of all public names, in ms", median["import"] * 1e3, 120),
        Promise("second call, in ms", median["ours warm"] * 1e3, 5),
    ]
