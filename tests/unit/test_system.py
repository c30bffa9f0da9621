"""What the machine allows, read from files of our own."""

from __future__ import annotations

import os

import pytest

from amorsize_async import _system


def group(root, path, text, name="cpu.max"):
    """A cgroup folder with a quota."""
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("200000 100000\n", 2.0), ("50000 100000\n", 0.5), ("max 100000\n", None), ("", None), ("nonsense\n", None)],
    ids=["two", "half", "none", "empty", "broken"],
)
def test_a_version_2_quota_is_read(tmp_path, text, cpus):
    """Quota over period; "max" is none."""
    own = tmp_path / "own"
    own.write_text("0::/app\n")
    group(tmp_path, "app", text)

    assert _system.cgroup_cpus(tmp_path, own) == cpus


def test_the_tightest_quota_of_all_ancestors_counts(tmp_path):
    """A container in a slice."""
    own = tmp_path / "own"
    own.write_text("0::/slice/app\n")
    group(tmp_path, "slice", "100000 100000")
    group(tmp_path, "slice/app", "400000 100000")

    assert _system.cgroup_cpus(tmp_path, own) == 1.0


def test_a_version_1_quota_is_read(tmp_path):
    """Two files, below the controller's folder; -1 is none."""
    own = tmp_path / "own"
    own.write_text("4:cpu,cpuacct:/job\n3:memory:/job\n")
    group(tmp_path, "cpu/job", "300000", "cpu.cfs_quota_us")
    group(tmp_path, "cpu/job", "100000", "cpu.cfs_period_us")
    group(tmp_path, "cpu", "-1", "cpu.cfs_quota_us")
    group(tmp_path, "cpu", "100000", "cpu.cfs_period_us")

    assert _system.cgroup_cpus(tmp_path, own) == 3.0


def test_no_cgroup_is_no_limit(tmp_path):
    """As on other systems."""
    assert _system.cgroup_cpus(tmp_path, tmp_path / "missing") is None


def test_the_environment_decides_over_the_machine():
    """AMORSIZE_N_JOBS, a whole number above zero."""
    assert _system.usable_cpus({"AMORSIZE_N_JOBS": "3"}) == 3
    for text in ("0", "-1", "two", "1.5"):
        with pytest.raises(ValueError, match="is not a number of workers"):
            _system.usable_cpus({"AMORSIZE_N_JOBS": text})


def test_usable_cpus_never_exceed_the_affinity():
    """At least one, at most those that this process may run on."""
    assert 1 <= _system.usable_cpus({}) <= len(os.sched_getaffinity(0))


def test_the_default_start_method_never_forks():
    """A fork copies held locks and signal handlers."""
    assert _system.default_start_method() in {"forkserver", "spawn"}
