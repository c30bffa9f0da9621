"""Hooks named in the environment or in pyproject.toml. Only what is named is imported, nothing for being installed."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .events import HookEvent
from .hooks import HookManager, HookOptions

__all__ = ("configured_hooks", "hooks_from", "hooks_of_process")

VARIABLE = "AMORSIZE_HOOKS"
TABLE = "[tool.amorsize_async] hooks"
OPTIONS = frozenset(HookOptions.__annotations__) - {"when"}


Entries = Sequence[str | Mapping[str, Any]]

_made: dict[str, tuple[HookManager, ...]] = {}
"""The managers that each configuration gave, as text: a hook keeps its state from one execution to the next."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_made.clear)


def hooks_of_process() -> tuple[HookManager, ...]:
    """Return what `configured_hooks` gives here, the same managers each time: made once, also if many ask at once."""
    entries, source = _configured(None, os.environ)
    configuration = repr((source, entries))
    if configuration not in _made:
        # Not under a lock: a factory is the user's, and may itself execute something. The first to be ready counts.
        _made.setdefault(configuration, tuple(hooks_from(entries, source)))
    return _made[configuration]


def configured_hooks(folder: Path | None = None, environment: Mapping[str, str] = os.environ) -> list[HookManager]:
    """Return the hooks that the user configured for every execution of this process; reads at most one small file.

    ``AMORSIZE_HOOKS=pkg.mod:factory,other:manager`` goes before the ``hooks`` of ``[tool.amorsize_async]`` in the first
    ``pyproject.toml`` of ``folder`` (``None``: the working directory) and its parents; set but empty, it turns them
    off. Entries are explained at ``hooks_from``.
    """
    return hooks_from(*_configured(folder, environment))


def _configured(folder: Path | None, environment: Mapping[str, str]) -> tuple[Entries, str]:
    """What is configured, and where."""
    named = environment.get(VARIABLE)
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()], VARIABLE
    try:
        return _entries_of_project(folder or Path.cwd()), TABLE
    except OSError:  # the folder was deleted under us, or is not ours to look into: no project is to be found there
        return [], TABLE


def hooks_from(entries: Iterable[str | Mapping[str, Any]], source: str = "the configuration") -> list[HookManager]:
    """Return the managers that ``entries`` describe, in order.

    A string ``"pkg.mod:name"`` names a ``HookManager``, or a function without arguments that returns one or several.
    A table ``{use = "pkg.mod:callback", events = ["on_error"], every = 1.0}`` registers a callback: ``events`` are
    values of ``HookEvent`` (left out: all), the rest are options of ``HookManager.register``.
    Raises, naming ``source``: ``ImportError`` for what is not there, ``TypeError`` or ``ValueError`` for what is wrong.
    """
    managers: list[HookManager] = []
    for entry in entries:
        if isinstance(entry, str):
            managers += _managers_of(_resolve(entry, source), entry, source)
        elif isinstance(entry, Mapping):
            managers.append(_registered(entry, source))
        else:
            raise TypeError(f"{source}: {entry!r} is neither a name like 'pkg.mod:factory' nor a table with 'use'")
    return managers


def _entries_of_project(folder: Path) -> Entries:
    import tomllib

    for candidate in (folder, *folder.parents):
        project = candidate / "pyproject.toml"
        if project.is_file():
            try:
                tools = tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {})
            except ValueError as exc:
                raise ValueError(f"{project} cannot be read: {exc}; mend it, or set {VARIABLE} to go without") from exc
            entries = tools.get("amorsize_async", {}).get("hooks", [])
            if not isinstance(entries, list):
                raise TypeError(f"{TABLE} in {project} must be a list, not {entries!r}: hooks = ['pkg.mod:factory']")
            return entries
    return []


def _resolve(name: object, source: str) -> object:
    if not isinstance(name, str) or not all(name.partition(":")):
        raise ValueError(f"{source} names {name!r}; write 'package.module:name'")
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ImportError(f"{source} names {name!r}, which cannot be found ({exc}); is the module importable?") from exc


def _managers_of(named: object, name: str, source: str) -> list[HookManager]:
    try:
        made = named() if callable(named) else named
    except Exception as exc:
        exc.add_note(f"raised by {name!r}, which {source} names for hooks")
        raise
    managers = [made] if isinstance(made, HookManager) else made
    if not isinstance(managers, list | tuple) or not all(isinstance(each, HookManager) for each in managers):
        raise TypeError(
            f"{source}: {name!r} gave a {type(made).__name__}; "
            "name a HookManager or a function without arguments that returns one"
        )
    return list(managers)


def _registered(table: Mapping[str, Any], source: str) -> HookManager:
    options = {key: value for key, value in table.items() if key not in {"use", "events"}}
    unknown = sorted(options.keys() - OPTIONS)
    if unknown or "use" not in table:
        wrong = f"unknown keys {unknown}" if unknown else "no 'use'"
        raise ValueError(f"{source}: {dict(table)!r} has {wrong}; keys are use, events, {', '.join(sorted(OPTIONS))}")
    callback: Any = _resolve(table["use"], source)
    manager = HookManager()
    manager.register(_events_of(table, source), callback, **options)
    return manager


def _events_of(table: Mapping[str, Any], source: str) -> list[HookEvent]:
    known = [event.value for event in HookEvent]
    events = table.get("events", known)
    if not isinstance(events, list) or not all(event in known for event in events):
        raise ValueError(f"{source}: events = {events!r} is no list of events; there are {', '.join(known)}")
    return [HookEvent(value) for value in events]
