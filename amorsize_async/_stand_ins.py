"""What travels in place of what neither pickle nor cloudpickle can send: names for type checkers, lazy imports.

And what cloudpickle would send as something else, and does not travel: open files.

cloudpickle reads the annotations of each function that goes by value, and from Python 3.14 on they are evaluated then.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Callable
from importlib import import_module
from io import TextIOWrapper
from types import FunctionType
from typing import Any, ForwardRef, NewType, ParamSpec, TypeVarTuple

__all__ = ("MAIN_MODULES", "NAMED", "reduced_alias", "reduced_function", "stand_in_for")

MAIN_MODULES = ("__main__", "__mp_main__")
# What a worker does not import: the main module, under the name that it has in a process of multiprocessing, too.

_TypeAlias: Any = getattr(typing, "TypeAliasType", ())
NAMED = (NewType, ParamSpec, TypeVarTuple, *([_TypeAlias] if _TypeAlias else []))
# What pickles as a name in its module, though it need not be there: in `__main__`, or as a parameter in brackets.


def stand_in_for(obj: Any) -> tuple[Any, ...] | None:
    """How pickle is to reduce an object; None: as it would by itself. Raises TypeError for what must not travel."""
    reduced = _REDUCED.get(type(obj))
    return None if reduced is None or _is_found(obj) else reduced(obj)


def reduced_alias(alias: Any, seen: set[Any]) -> tuple[Any, ...] | None:
    """The same for what `type` statements (Python 3.12) define; what it names again in itself is only its name."""
    if not isinstance(alias, _TypeAlias) or _is_found(alias):
        return None
    try:
        value = None if alias in seen else alias.__value__
    except Exception:  # noqa: BLE001 - any expression may stand there, and name what is there for tools only
        value = None
    seen.add(alias)
    return (
        (ForwardRef, (alias.__name__,)) if value is None else (_alias, (alias.__name__, value, alias.__type_params__))
    )


def _is_found(obj: Any) -> bool:
    """Whether its name will do, over there, too."""
    module = getattr(obj, "__module__", None) or ""
    return module not in MAIN_MODULES and getattr(sys.modules.get(module), getattr(obj, "__name__", ""), None) is obj


def reduced_function(reduce: Callable[[Any], Any], function: Any) -> Any:
    """What `reduce` makes of a function; of one with annotations that have no value, with their text in their place."""
    try:
        return reduce(function)
    except Exception:  # whatever it is: only annotations are to be mended here, all else is raised
        if not isinstance(function, FunctionType) or _has_annotations(function):
            raise
        return reduce(_twin_of(function))


def _open_file(file: TextIOWrapper) -> None:
    """Refuse it: cloudpickle would send its text, as an `io.StringIO`. Which standard stream it is, it may tell."""
    if file not in (sys.stdin, sys.stdout, sys.stderr):
        raise TypeError("cannot pickle an open file")


def _forward_reference(reference: ForwardRef) -> tuple[Any, ...]:
    """Its text alone: from Python 3.14 on it holds the globals of its module, all of them."""
    return ForwardRef, (reference.__forward_arg__,)


def _new_type(new: NewType) -> tuple[Any, ...]:
    return _made_in, (NewType, (new.__name__, new.__supertype__), new.__module__)


def _parameter(parameter: ParamSpec | TypeVarTuple) -> tuple[Any, ...]:
    return _made_in, (type(parameter), (parameter.__name__,), parameter.__module__)


def _made_in(make: Callable[..., Any], arguments: tuple[Any, ...], module: str) -> Any:
    made = make(*arguments)
    made.__module__ = module
    return made


def _alias(name: str, value: Any, parameters: tuple[Any, ...]) -> Any:
    return _TypeAlias(name, value, type_params=parameters)


def _imported(lazy: Any) -> tuple[Any, ...]:
    """What a lazy import (Python 3.15) stands for; that it cannot be imported shows where it is used."""
    try:
        return _itself, (lazy.resolve(),)
    except Exception as exc:  # noqa: BLE001 - a module's body may raise anything
        return _NotImported, (exc if isinstance(exc, ImportError) else ImportError(f"{type(exc).__name__}: {exc}"),)


def _itself(found: Any) -> Any:
    return found


class _NotImported:
    """Raises, when it is used, what its import raised."""

    def __init__(self, error: ImportError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error

    def __call__(self, *_args: object, **_kwargs: object) -> Any:
        raise self._error


_REDUCED: dict[Any, Callable[[Any], tuple[Any, ...] | None]] = {
    TextIOWrapper: _open_file,
    ForwardRef: _forward_reference,
    NewType: _new_type,
    ParamSpec: _parameter,
    TypeVarTuple: _parameter,
    getattr(types, "LazyImportType", None): _imported,
}


def _has_annotations(function: FunctionType) -> bool:
    """Whether they can be read: they may name what is there for tools only."""
    try:
        return function.__annotations__ is not None
    except Exception:  # noqa: BLE001 - any expression may stand there
        return False


def _twin_of(function: FunctionType) -> FunctionType:
    """The same function, its annotations as they are written."""
    annotationlib = import_module("annotationlib")  # Python 3.14: before, there are none without a value
    twin = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    for name in ("__kwdefaults__", "__qualname__", "__module__", "__doc__", "__type_params__"):
        setattr(twin, name, getattr(function, name))
    twin.__annotations__ = annotationlib.get_annotations(function, format=annotationlib.Format.STRING)
    vars(twin).update(vars(function))
    return twin
