"""Why something cannot be pickled: finds the attribute at fault, for the error that names it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import BuiltinMethodType, CoroutineType, FunctionType, MethodType
from typing import Any

from ._pickling import dumps
from .errors import UnpicklableError

__all__ = ("unpicklable",)

MAX_SEARCH_DEPTH = 6
# How deep the search for an unpicklable attribute goes: deep enough for a client inside a service inside a partial,
# shallow enough to end at once on a large graph.


def unpicklable(subject: str, obj: Any, cause: BaseException, *, where: str = "") -> UnpicklableError:
    """The error for something that cannot be pickled: the fact, the attribute that is to blame, and the way out.

    `subject` is "function", "item" or "result"; `where` says which one ("item 7"). No value is shown: types only.
    """
    root = {"function": "fn"}.get(subject, subject)
    try:
        path, culprit = _find_culprit(obj, root)
    except BaseException:  # noqa: BLE001 - its attributes are user code, and may raise anything: then all of it is to blame
        path, culprit = root, obj
    kind = f"{type(culprit).__module__}.{type(culprit).__qualname__}"
    advice = {
        "function": "create it inside the function, or in an initializer of the executor, instead of capturing it, "
        "or move the function into a module that workers can import",
        "item": "send what it is made from (a path, a key, bytes) and build it inside the function",
        "result": "return plain data (a dict, a tuple, bytes) made from it",
    }[subject]
    if subject == "result" and isinstance(culprit, CoroutineType):
        advice = "fn is no coroutine function, but returned a coroutine: make it `async def`, and await that"
    message = f"{where or 'the ' + subject} cannot be pickled: {path} is a {kind} ({type(cause).__name__}); {advice}"
    return UnpicklableError(message, subject=subject, path=path)


def _find_culprit(obj: Any, path: str, depth: int = 0) -> tuple[str, Any]:
    """Follow the parts of `obj` that fail by themselves, to the innermost one."""
    if depth < MAX_SEARCH_DEPTH:
        for name, part in _parts(obj, path):
            if not _pickles(part):
                return _find_culprit(part, name, depth + 1)
    return path, obj


def _pickles(obj: Any) -> bool:
    try:
        dumps(obj)
    except BaseException:  # noqa: BLE001 - any failure is the answer
        return False
    return True


def _parts(obj: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The named parts that pickle would have to pickle with `obj`."""
    if isinstance(obj, partial):
        yield f"{path}.func", obj.func
        yield from ((f"{path}.args[{i}]", part) for i, part in enumerate(obj.args))
        yield from ((f"{path}.keywords[{key!r}]", part) for key, part in obj.keywords.items())
    elif isinstance(obj, MethodType | BuiltinMethodType):
        yield f"{path}.__self__", obj.__self__
    elif isinstance(obj, FunctionType):
        yield from _captured(obj, path)
    elif isinstance(obj, dict):
        # The position, not the key: a key may be somebody's data, and messages show none.
        yield from ((f"{path}.values()[{i}]", part) for i, part in enumerate(list(obj.values())[:1000]))
    elif isinstance(obj, list | tuple):
        yield from ((f"{path}[{i}]", part) for i, part in enumerate(obj[:1000]))
    else:
        yield from ((f"{path}.{name}", part) for name, part in getattr(obj, "__dict__", {}).items())


def _captured(fn: FunctionType, path: str) -> Iterator[tuple[str, Any]]:
    """What a function captures: its closure, its defaults, and the globals that its code names."""
    import inspect

    variables = inspect.getclosurevars(fn)
    for name, part in {**variables.nonlocals, **variables.globals}.items():
        yield f"{path}.{name}", part
    yield from ((f"{path}.__defaults__[{i}]", part) for i, part in enumerate(fn.__defaults__ or ()))
