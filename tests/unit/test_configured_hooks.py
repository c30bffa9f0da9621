"""Hooks that are named in the environment or in pyproject.toml."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from amorsize_async._configured_hooks import configured_hooks, hooks_from, hooks_of_process
from amorsize_async.events import HookContext, HookEvent

MODULE = """
from amorsize_async.hooks import HookManager

calls = []
manager = HookManager()

def factory():
    made = HookManager()
    made.register(list(__import__("amorsize_async.events").events.HookEvent)[0], calls.append)
    return made

def several():
    return [manager, factory()]

def audit(context):
    calls.append(context)
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the import path with two modules of a user."""
    (tmp_path / "user_hooks.py").write_text(MODULE)
    (tmp_path / "unnamed_hooks.py").write_text("raise RuntimeError('nobody named me')")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("user_hooks", None)


def test_nothing_configured_gives_nothing(tmp_path):
    """A folder without a project, or a project without a table."""
    assert configured_hooks(tmp_path, {}) == []
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nhooks = ['x:y']")
    assert configured_hooks(tmp_path, {}) == []


def test_the_environment_names_factories_and_managers(site):
    """Separated by commas, in order; nothing else is imported."""
    named = "user_hooks:manager, user_hooks:factory,user_hooks:several"
    managers = configured_hooks(site, {"AMORSIZE_HOOKS": named})
    import user_hooks

    assert len(managers) == 4
    assert managers[0] is managers[2] is user_hooks.manager
    assert managers[1].has_hooks(HookEvent.PRE_EXECUTE)
    assert "unnamed_hooks" not in sys.modules


def test_the_project_registers_callbacks_with_options(site):
    """A table names the callback, its events and the options of ``register``; it is found from a folder below."""
    (site / "pyproject.toml").write_text(
        "[tool.amorsize_async]\n"
        'hooks = ["user_hooks:factory", {use = "user_hooks:audit", events = ["on_error", "post_execute"], once = true}]'
    )
    (site / "below").mkdir()
    _, audited = configured_hooks(site / "below", {})
    assert [event for event in HookEvent if audited.has_hooks(event)] == [HookEvent.POST_EXECUTE, HookEvent.ON_ERROR]
    audited.trigger(HookContext(HookEvent.ON_ERROR))
    assert not audited.has_hooks(HookEvent.ON_ERROR)


def test_a_process_makes_its_configured_hooks_once(site, monkeypatch):
    """However many calls there are: a hook keeps its state, and one that hangs does so in one thread."""
    monkeypatch.chdir(site)
    monkeypatch.setenv("AMORSIZE_HOOKS", "user_hooks:several,user_hooks:factory")
    made = hooks_of_process()
    monkeypatch.setenv("AMORSIZE_HOOKS", "user_hooks:factory")
    other = hooks_of_process()
    monkeypatch.setenv("AMORSIZE_HOOKS", "user_hooks:several,user_hooks:factory")

    assert hooks_of_process() is made
    assert len(made) == 3
    assert other[0] not in made


def test_a_folder_that_is_not_ours_to_look_into_has_no_project(site, monkeypatch):
    """As a service under a user of its own may find."""

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refused)
    assert configured_hooks(site, {}) == []


def test_an_empty_variable_turns_the_projects_hooks_off(site):
    """The environment goes before the file."""
    (site / "pyproject.toml").write_text('[tool.amorsize_async]\nhooks = ["user_hooks:factory"]')
    assert len(configured_hooks(site, {})) == 1
    assert configured_hooks(site, {"AMORSIZE_HOOKS": ""}) == []


def test_a_table_without_events_listens_to_all(site):
    """And each entry is a manager of its own."""
    [manager] = hooks_from([{"use": "user_hooks:audit"}])
    assert all(manager.has_hooks(event) for event in HookEvent)


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        ("user_hooks", ValueError, "package.module:name"),
        ("user_hooks:", ValueError, "package.module:name"),
        ("no_such_module:factory", ImportError, "no_such_module"),
        ("user_hooks:missing", ImportError, "missing"),
        ("user_hooks:calls", None, None),
        ("user_hooks:__name__", TypeError, "HookManager"),
        ({"use": "user_hooks:audit", "evry": 1}, ValueError, "evry"),
        ({"events": ["on_error"]}, ValueError, "no 'use'"),
        ({"use": "user_hooks:audit", "events": ["on_eror"]}, ValueError, r"hooks: events = \['on_eror'\] is no list"),
        ({"use": "user_hooks:audit", "events": "on_error"}, ValueError, "events = 'on_error' is no list of events"),
        ({"use": "user_hooks:audit", "timeout": 0}, ValueError, "timeout"),
        (7, TypeError, "7"),
    ],
)
def test_a_wrong_entry_is_named(site, entry, error, words):
    """With the place it comes from, where ours is the message."""
    if error is None:
        assert hooks_from([entry]) == []
        return
    with pytest.raises(error, match=words):
        hooks_from([entry], "[tool.amorsize_async] hooks")


def test_what_a_factory_raises_says_where_it_was_named():
    """Its own exception, with a note."""
    with pytest.raises(TypeError, match="missing 1 required") as caught:
        hooks_from(["json:dumps"], "AMORSIZE_HOOKS")

    assert caught.value.__notes__ == ["raised by 'json:dumps', which AMORSIZE_HOOKS names for hooks"]


def test_what_is_no_manager_is_not_shown():
    """It may be anything: the environment, settings with secrets."""
    with pytest.raises(TypeError, match=r"AMORSIZE_HOOKS: 'os:environ' gave a _Environ; name a HookManager"):
        hooks_from(["os:environ"], "AMORSIZE_HOOKS")


def test_hooks_that_are_no_list_are_refused(site):
    """The message names the file."""
    (site / "pyproject.toml").write_text("[tool.amorsize_async]\nhooks = 'user_hooks:factory'")
    with pytest.raises(TypeError, match="must be a list"):
        configured_hooks(site, {})


def test_a_project_that_cannot_be_read_is_named(site):
    """With the way out."""
    (site / "pyproject.toml").write_text("[tool.amorsize_async\nhooks = 3")
    with pytest.raises(ValueError, match=r"pyproject.toml cannot be read: .*; mend it, or set AMORSIZE_HOOKS"):
        configured_hooks(site, {})
