"""Every check of this repository, one session each: `pip install nox && nox`.

Python 3.11 or later and pip are enough. Sessions for other versions of Python are skipped where there is no such
interpreter, and the closing summary says so.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"

ROOT = Path(__file__).parent
PACKAGE = ROOT / "amorsize_async"
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
FOREIGN_PYTHON = "3.13"
"""The Python whose own tests `tests/foreign` knows."""
EXAMPLE_SECONDS = 180
OF_ANOTHER_SESSION = ("--deselect=tests/end_to_end/test_examples.py::test_runs_as_a_script_and_says_something",)
"""The examples have one of their own."""
OF_THE_REPOSITORY = (
    "--ignore=tests/end_to_end/test_benchmarks.py",
    "--ignore=tests/unit/test_benchmark_records.py",
    "--ignore=tests/end_to_end/test_hooks_demo.py",
    "--ignore=tests/unit/test_leaks.py",
)
"""What one Python can answer for all: it is asked of these files more than of the package."""
SLOW_WHEN_MEASURED = ("--deselect=tests/end_to_end/test_secrets.py::test_nothing_is_written_of_items",)
"""Each feature in debug mode, in programs of their own: these lines are reached by other tests, too."""
PYPROJECT = nox.project.load_toml("pyproject.toml")


@cache
def newest() -> str:
    """The newest Python that is found here under a name with its version; else the one that runs this."""
    for version in reversed(PYTHONS):
        found = shutil.which(f"python{version}")
        # A shim of pyenv is found, too, and fails if no version is behind it.
        if found and subprocess.run([found, "-c", ""], check=False, capture_output=True).returncode == 0:
            return version
    return "{}.{}".format(*sys.version_info)


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style of all Python code, and that it is formatted."""
    install_groups(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def floors(session: nox.Session) -> None:
    """Hold the house: imports go down only, and each power has one place."""
    install_groups(session, "lint")
    session.run("lint-imports", "--no-cache")
    strays = [stray for module in sorted(PACKAGE.rglob("*.py")) for stray in strays_of(module)]
    if strays:
        session.error("\n".join(["a power outside its place:", *strays]))
    session.log(f"one place for each power: {', '.join(POWERS)}")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types inside (mypy, strict) and those that users see (basedpyright, complete)."""
    install(session, "typing")
    session.run("mypy")
    session.run("basedpyright", "--verifytypes", "amorsize_async", "--ignoreexternal")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests against the installed package, on each Python that is found; arguments go to pytest.

    The Pythons share the work. Each has one event loop, in turn (pytest by itself runs both). The oldest takes all
    start methods, tables, and what tests this repository more than the package; the others take the default start
    method. The run of the newest one here is measured for `coverage`, unless it is only a part of the tests.
    """
    number = PYTHONS.index(str(session.python))
    install(session, "tests", *(() if number else ("tables",)))
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    shares, less = {"TEST_LOOPS": ("asyncio", "uvloop")[number % 2]}, OF_ANOTHER_SESSION
    if number:
        shares["TEST_START_METHODS"] = "forkserver"
        less += OF_THE_REPOSITORY
    if session.python == newest():
        session.run("coverage", "erase")
        session.run("coverage", "run", "-m", "pytest", *less, *SLOW_WHEN_MEASURED, env=shares)
    else:
        session.run("pytest", *less, env=shares)


@nox.session
def faults(session: nox.Session) -> None:
    """Do harm of every kind, and print what was lost, what stayed behind and how long it took."""
    install(session, "faults")
    session.run("pytest", "tests/faults", *session.posargs)


@nox.session
def sweeps(session: nox.Session) -> None:
    """Cancel calls at every turn of their loop, use and abuse an executor at random, and run in odd places."""
    install(session, "runner")
    session.run("pytest", "tests/sweeps", "tests/places", *session.posargs)


@nox.session
def services(session: nox.Session) -> None:
    """Run the web services and the notebook as their users do: servers, many clients, a browser if there is one."""
    install(session, "services")
    session.run("pytest", "tests/services", *session.posargs)


@nox.session(python=newest())
def examples(session: nox.Session) -> None:
    """Run each example on the newest Python as its reader would, with nothing installed but this library.

    Services, which do not end, have their own session.
    """
    session.install(".")
    python = shutil.which("python", path=session.bin) or "python"
    for example in sorted({*ROOT.glob("examples/*.py")} - {*ROOT.glob("examples/*_service.py")}):
        session.log(f"python {example.relative_to(ROOT)}")
        subprocess.run([python, example], check=True, cwd=ROOT, timeout=EXAMPLE_SECONDS, stdin=subprocess.DEVNULL)


@nox.session
def coverage(session: nox.Session) -> None:
    """Tell which lines and branches the tests reach, in workers too; too few is an error."""
    install_groups(session, "coverage")
    if not list(ROOT.glob(".coverage.*")):  # `tests` has not run, or not on the Python that measures
        install(session, "tests")
        session.run("coverage", "run", "-m", "pytest", "-q", *session.posargs)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report")


@nox.session
def security(session: nox.Session) -> None:
    """Look for insecure code (bandit) and workflows (zizmor), and for known vulnerabilities of what we depend on.

    The last needs a service on the network; where that is out of reach, the session says so and counts as skipped.
    """
    install_groups(session, "security")
    session.run("bandit", "--quiet", "--recursive", "--severity-level", "medium", PACKAGE.name)
    session.run("zizmor", "--offline", "--quiet", ".github")
    found = Path(session.create_tmp()) / "audit.json"
    found.unlink(missing_ok=True)
    # 1 is its exit code for a vulnerability and for a service that does not answer; only the first leaves a file.
    session.run(
        "pip-audit", "--progress-spinner=off", "--format=json", f"--output={found}", str(ROOT), success_codes=[0, 1]
    )
    packages = json.loads(found.read_text(encoding="utf-8"))["dependencies"] if found.exists() else []
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    known = [f"{package['name']} ({each['id']})" for package in packages for each in package.get("vulns", ())]
    if known:
        session.error(f"known vulnerabilities: {', '.join(known)}")
    if unknown or not packages:
        session.skip(
            f"bandit and zizmor found nothing; pip-audit could not ask about {', '.join(unknown) or 'anything'}"
        )


@nox.session(python=FOREIGN_PYTHON)
def foreign(session: nox.Session) -> None:
    """Run CPython's own executor tests against this library, if they came with the Python that they are of."""
    install(session, "runner")
    session.run("pytest", "tests/foreign", *session.posargs)


@nox.session(default=False)
def soak(session: nox.Session) -> None:
    """Do it for long: ten thousand faults, a call cancelled at each of its turns, ten times the histories; bounded."""
    install(session, "faults")
    session.run("pytest", "tests/faults/test_storm.py", "-k", "soak", env={"FAULTS": "10000"})
    session.run("pytest", "tests/sweeps", env={"SWEEPS": "10"})


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Compare with the peers; not part of plain `nox`, half an hour for all. Arguments go to the benchmarks."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


def install(session: nox.Session, *groups: str) -> None:
    """Install the package and dependency groups at once."""
    session.install(".", *nox.project.dependency_groups(PYPROJECT, *groups))


def install_groups(session: nox.Session, *groups: str) -> None:
    """Install dependency groups of pyproject.toml, with any pip: its own option for that is young."""
    session.install(*nox.project.dependency_groups(PYPROJECT, *groups))


# ── one place for each power ─────────────────────────────────────────────────────────────────────────────────────────

POWERS = {
    "run_in_executor": {"_launcher.py"},
    "/proc, /sys, affinity": {"_system.py"},
    "defining an exception": {"errors.py", "_parts.py"},  # the second's is a signal among us, and leaves no call
}
ERROR_SUFFIXES = ("Error", "Exception", "BaseException", "ExceptionGroup", "BrokenExecutor", "BrokenProcessPool")


def strays_of(module: Path) -> Iterator[str]:
    """Name each use of a power in a module that is not its place. Prose (docstrings and comments) is free."""
    place = module.relative_to(PACKAGE).as_posix()
    tree = ast.parse(module.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        power = None if id(node) in prose else power_of(node)
        if power is not None and place not in POWERS[power]:
            yield f"{module.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: {power} belongs to {max(POWERS[power])}"


def power_of(node: ast.AST) -> str | None:
    """Name the power that a piece of syntax uses, if any."""
    match node:
        case ast.Attribute(attr="run_in_executor"):
            return "run_in_executor"
        case ast.Attribute(attr="sched_getaffinity"):
            return "/proc, /sys, affinity"
        case ast.Constant(value=str(text)) if text.startswith(("/proc", "/sys")):
            return "/proc, /sys, affinity"
        # A private exception is a signal between lines of one module: nobody else meets it.
        case ast.ClassDef(name=name, bases=bases) if name[0] != "_" and any(
            ast.unparse(base).endswith(ERROR_SUFFIXES) for base in bases
        ):
            return "defining an exception"
    return None
