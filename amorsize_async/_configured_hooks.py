"""Hooks named in the environment or in pyproject.toml. Only what is named is imported, nothing for being installed."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .events import HookEvent
from .hooks import HookManager, HookOptions

__all__ = ("configured_hooks", "hooks_from")

VARIABLE = "AMORSIZE_HOOKS"
TABLE = "[tool.amorsize_async] hooks"
OPTIONS = frozenset(HookOptions.__annotations__) - {"when"}


def configured_hooks(folder: Path | None = None, environment: Mapping[str, str] = os.environ) -> list[HookManager]:
    """Return the hooks that the user configured for every execution of this process; reads at most one small file.

    ``AMORSIZE_HOOKS=pkg.mod:factory,other:manager`` goes before the ``hooks`` of ``[tool.amorsize_async]`` in the first
    ``pyproject.toml`` of ``folder`` (``None``: the working directory) and its parents; set but empty, it turns them
    off. Entries are explained at ``hooks_from``.
    """
    named = environment.get(VARIABLE)
    if named is not None:
        return hooks_from([name.strip() for name in named.split(",") if name.strip()], VARIABLE)
    try:
        folder = folder or Path.cwd()
    except FileNotFoundError:  # it was deleted under us, and no project is to be found from there
        return []
    return hooks_from(_entries_of_project(folder), TABLE)


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


def _entries_of_project(folder: Path) -> Sequence[str | Mapping[str, Any]]:
    import tomllib

    for candidate in (folder, *folder.parents):
        project = candidate / "pyproject.toml"
        if project.is_file():
            with project.open("rb") as file:
                entries = tomllib.load(file).get("tool", {}).get("amorsize_async", {}).get("hooks", [])
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
    made = named() if callable(named) else named
    managers = [made] if isinstance(made, HookManager) else made
    if not isinstance(managers, list | tuple) or not all(isinstance(each, HookManager) for each in managers):
        raise TypeError(
            f"{source}: {name!r} gave {made!r}; name a HookManager or a function without arguments that returns one"
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
    manager.register([HookEvent(value) for value in table.get("events", list(HookEvent))], callback, **options)
    return manager
