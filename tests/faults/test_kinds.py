"""Whatever one item does, only that item fails, by name; the pool lives: every kind of fault, on one pool each way."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

import leaks
from amorsize_async import AsyncExecutor
from faults import figures, harm
from faults.bells import Bell
from faults.conftest import WAYS, new_runner
from faults.kinds import KINDS, complaint

BAD = 7
"""The item of twenty that is bad: in the middle of the second chunk of five."""

GOOD = [n * n for n in range(20)]

# CPython warns of a fork beside threads; here it is asked for.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class Bench:
    """A pool of two workers on a loop of its own, that is used by one test after the other."""

    def __init__(self, start, loop, **options):
        self.way = f"{start}, {loop}"
        self._runner = new_runner(loop)
        self.executor = AsyncExecutor(2, start_method=start, **options)
        self.run(self.executor.start())

    def run(self, work):
        """Run a coroutine to its end; it gets half a minute."""

        async def bounded():
            async with asyncio.timeout(30):
                return await work

        return self._runner.run(bounded())

    def close(self):
        """Close the pool, then the loop."""
        self.run(self.executor.aclose())
        self._runner.close()


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def bench(request):
    """A pool that all kinds meet in turn; when it is closed nothing may be left."""
    before = leaks.Snapshot.take()
    bench = Bench(*request.param)
    yield bench
    bench.close()
    left = leaks.left_since(before, set(), leaks.GRACE)
    assert not left, left.lines()


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def strict_bench(request):
    """A pool that gives an item up after one death: who dies then is known."""
    bench = Bench(*request.param, max_item_deaths=1)
    yield bench
    bench.close()


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Workers come and go on a pool that outlives the test; what is left is asked when that is closed."""


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_only_the_bad_item_fails(bench, kind):
    """It is named, the other nineteen are right and in order, innocent workers live, and the next call is fine."""
    if not kind.available:
        pytest.skip(f"there is no {', '.join(kind.options)} yet")
    items = [*range(BAD), kind.make(), *range(BAD + 1, 20)]
    before = bench.executor.statistics()
    with figures.scored(f"kinds of fault isolated, {bench.way}"):
        results = bench.run(
            bench.executor.execute(harm.perform, items, chunksize=5, return_exceptions=True, **kind.options)
        )
        error = results.pop(BAD)

        assert complaint(kind, error, BAD) is None
        assert results == GOOD[:BAD] + GOOD[BAD + 1 :]
        assert bench.run(bench.executor.execute(harm.perform, range(20))) == GOOD
        after = bench.executor.statistics()
        assert after.lost - before.lost <= kind.deaths
        assert kind.lethal or set(after.workers) >= set(before.workers)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.lethal], ids=lambda kind: kind.id)
def test_a_neighbour_keeps_its_pid_and_its_work(strict_bench, kind, tmp_path):
    """While one call's item kills its worker and fails that call, another call's item goes on in its own, and once."""
    if not kind.available:
        pytest.skip(f"there is no {', '.join(kind.options)} yet")
    with Bell(tmp_path / "bell") as bell, Bell(tmp_path / "gate") as gate, figures.scored("neighbours untouched"):
        error, patient, rung = strict_bench.run(_beside_a_patient_one(strict_bench.executor, kind, bell, gate))

        assert complaint(kind, error, BAD) is None
        assert patient == [rung]
        assert strict_bench.executor.statistics().chunks == 0


async def _beside_a_patient_one(executor, kind, bell, gate):
    """Give the bad call's error, the result of a patient call beside it, and the pid that rang for the latter."""
    items = [partial(harm.ring_and, bell.path, partial(harm.pid_behind, gate.path))]
    patient = asyncio.ensure_future(executor.execute(harm.perform, items, n_jobs=1))
    rung = await bell.rung()
    items = [*range(BAD), kind.make(), *range(BAD + 1, 20)]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - `complaint` says which it must be
        await executor.execute(harm.perform, items, n_jobs=1, chunksize=5, **kind.options)
    harm.ring(gate.path)
    return caught.value, await patient, rung
