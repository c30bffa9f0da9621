"""What the project promises outside its code: a version, types, two commands, checks that explain themselves."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest

import amorsize_async

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
VERSION = PYPROJECT["project"]["version"]
INSTALL_AND_RUN = "pip install . && python examples/quickstart.py"
INSTALL_AND_CHECK = "pip install nox && nox"


def text_of(name):
    """Read a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def pythons_of_nox():
    """The versions of Python that the tests run on."""
    assignments = (node for node in ast.parse(text_of("noxfile.py")).body if isinstance(node, ast.Assign))
    return next(list(ast.literal_eval(node.value)) for node in assignments if ast.unparse(node.targets[0]) == "PYTHONS")


def test_version_is_the_same_everywhere():
    """The package, its metadata, pyproject.toml and the changelog's first section tell one version."""
    newest = re.search(r"^## \[(.+?)\]", text_of("CHANGELOG.md"), re.MULTILINE)

    assert VERSION == amorsize_async.__version__ == metadata.version("amorsize-async") == newest[1]


def test_types_are_shipped():
    """Type checkers find the marker beside the installed package."""
    assert resources.files(amorsize_async).joinpath("py.typed").is_file()


def test_license_is_shipped():
    """The license is named in SPDX terms, and its text is in the distribution."""
    assert metadata.metadata("amorsize-async")["License-Expression"] == "MIT"
    assert any(path.name == "LICENSE" for path in metadata.files("amorsize-async"))


def test_uvloop_is_required_only_where_it_exists():
    """On Windows, and on other Pythons than CPython, the package installs without uvloop."""
    (uvloop,) = (line for line in PYPROJECT["project"]["dependencies"] if line.startswith("uvloop"))

    assert "sys_platform != 'win32'" in uvloop
    assert "platform_python_implementation == 'CPython'" in uvloop


@pytest.mark.parametrize("command", [INSTALL_AND_RUN, INSTALL_AND_CHECK], ids=["run", "check"])
def test_readme_has_the_command_on_a_line_of_its_own(command):
    """A newcomer copies one line."""
    assert command in text_of("README.md").splitlines()


def test_continuous_integration_runs_the_command_of_the_readme():
    """What is checked is what is told."""
    assert INSTALL_AND_CHECK in text_of(".ci/run").splitlines()
    assert "bash .ci/run" in text_of(".github/workflows/ci.yml")


def test_one_list_of_pythons():
    """The noxfile, the classifiers, the workflow and the oldest Python required agree."""
    prefix = "Programming Language :: Python :: "
    classifiers = [line.removeprefix(prefix) for line in PYPROJECT["project"]["classifiers"] if line.startswith(prefix)]
    pythons = pythons_of_nox()

    assert pythons == [version for version in classifiers if "." in version]
    assert f"python: {json.dumps(pythons)}" in text_of(".github/workflows/ci.yml")
    assert PYPROJECT["project"]["requires-python"] == f">={pythons[0]}"


def test_actions_are_pinned():
    """The workflow uses other people's code only by commit."""
    uses = re.findall(r"uses: (.+)", text_of(".github/workflows/ci.yml"))

    assert uses
    assert all(re.search(r"@[0-9a-f]{40} # v\d", line) for line in uses)


def test_each_session_of_nox_tells_what_it_does():
    """`nox --list` explains itself."""
    sessions = [
        node
        for node in ast.parse(text_of("noxfile.py")).body
        if isinstance(node, ast.FunctionDef) and "nox.session" in "".join(map(ast.unparse, node.decorator_list))
    ]

    assert {"lint", "floors", "typing", "tests", "examples", "coverage", "bench"} <= {node.name for node in sessions}
    assert all(ast.get_docstring(node) for node in sessions)


def test_each_ignored_rule_has_a_reason():
    """A rule that is switched off says why, beside its code."""
    rules = re.findall(r'^  "[A-Z]+\d*",(.*)$', text_of("pyproject.toml"), re.MULTILINE)

    assert rules
    assert all(re.match(r" +# \w+", comment) for comment in rules)


def test_importing_the_worker_is_light():
    """A worker that has not met its first item has loaded no library and no event loop."""
    heavy = ("anyio", "asyncio", "cloudpickle", "psutil", "uvloop")
    script = f"import amorsize_async._worker_start, sys; print(*[name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)

    assert run.stdout.split() == []
