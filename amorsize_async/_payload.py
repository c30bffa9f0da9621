"""How objects cross from one process to another: pickled by us, so that sizes are known and a bad item stays alone.

A list of objects travels as a parcel: one pickle of the whole list where that is safe, a list of one pickle each where
it is not. Nothing here knows an event loop; cloudpickle is imported only when something has to travel by value.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from io import BytesIO
from itertools import count
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from .errors import UnpicklableError

__all__ = (
    "Applied",
    "AppliedAsync",
    "PackedFunction",
    "Parcel",
    "dumps",
    "is_coroutine_function",
    "load_parcel",
    "loads",
    "pack_function",
    "pack_items",
    "pack_values",
    "parcel_size",
    "unpicklable",
)

PROTOCOL = 5
# The newest protocol that every supported Python writes and reads.

MAX_SEARCH_DEPTH = 6
# How deep the search for an unpicklable attribute goes: deep enough for a client inside a service inside a partial,
# shallow enough to end at once on a large graph.

Parcel = bytes | list[bytes]
loads = pickle.loads  # only ever fed by our own child, or by our own parent, over their private pipe


class _TravelsByValue(Exception):  # noqa: N818 - a signal between two lines of this module, never seen outside
    """Says that the object belongs to `__main__`, which a worker does not import."""


_numbers: WeakKeyDictionary[type, int] = WeakKeyDictionary()
_sent: WeakValueDictionary[int, type] = WeakValueDictionary()
_received: WeakKeyDictionary[type, int] = WeakKeyDictionary()
_next_number = count(1)
# Classes that travelled by value: what this process sent, by number, and what it received, with the sender's number.


class _Pickler(pickle.Pickler):
    """Plain pickle that notes whether anything but built-ins came by, and handles what cannot be imported elsewhere.

    homewards: the pickle goes to the process that such a class came from: its number will do. Elsewhere, and all that
    did not come from there, has to travel by value.
    """

    def __init__(self, file: BytesIO, *, homewards: bool) -> None:
        super().__init__(file, PROTOCOL)
        self.saw_classes = False
        self._homewards = homewards

    def reducer_override(self, obj: Any) -> Any:
        """Called by pickle for everything but the built-in types."""
        self.saw_classes = True
        if self._homewards and isinstance(obj, type) and obj in _received:
            return _sent_class, (_received[obj],)
        if isinstance(obj, type | FunctionType | _CachedFunction) and obj.__module__ == "__main__":
            raise _TravelsByValue
        return NotImplemented


def _dumps_by_value(obj: Any, *, shared: bool = True) -> bytes:
    """Pickle with cloudpickle; classes are numbered on the way, so that their instances come home as instances of them.

    shared: whether the functions of `__main__` share its globals over there, too; see `_spaces`.

    The pickle of a class is its number and itself. On the inner visit, cloudpickle makes the class; pickle then finds
    the outer result made already, and keeps the first.
    """
    import cloudpickle

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
        def __init__(self, file: BytesIO) -> None:
            super().__init__(file, protocol=PROTOCOL)
            self._visited: set[type] = set()

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, _CachedFunction) and obj.__module__ == "__main__":
                parameters = obj.cache_parameters()
                return _cached, (obj.__wrapped__, parameters["maxsize"], parameters["typed"])
            if isinstance(obj, type) and obj.__module__ == "__main__" and obj not in self._visited:
                self._visited.add(obj)
                return _receive_class, (obj, _number(obj))
            reduced = super().reducer_override(obj)
            return _in_its_space(obj, reduced) if shared and isinstance(obj, FunctionType) else reduced

    buffer = BytesIO()
    ByValue(buffer).dump(obj)
    return buffer.getvalue()


_spaces: dict[tuple[int, int], tuple[dict[str, Any], dict[str, Any]]] = {}
# Globals that functions of another process's `__main__` share here: by its pid and their id there, with what was sent.
# cloudpickle alone gives each pickle globals of its own, and then what an initializer sets, no other function sees.


CLOUDPICKLE_PARTS = 6
# What cloudpickle reduces a function to: with a function of its own that sets the state, as the last part.


def _in_its_space(function: FunctionType, reduced: Any) -> Any:
    """How cloudpickle reduces a function, changed so that it gets the globals that its likes share over there."""
    names = function.__globals__
    known = names is sys.modules["__main__"].__dict__ or any(names is space for space, _ in _spaces.values())
    if not known or not isinstance(reduced, tuple) or len(reduced) != CLOUDPICKLE_PARTS:
        return reduced
    make, (code, base, *rest), state, _, _, set_state = reduced
    token = (os.getpid(), id(names))
    return make, (code, _Space(token, base), *rest), (token, set_state, state), None, None, _set_in_space


class _Space:
    """Stands for shared globals in a pickle."""

    def __init__(self, token: tuple[int, int], base: dict[str, Any]) -> None:
        self._reduced = _space, (token, base)

    def __reduce__(self) -> Any:
        return self._reduced


def _space(token: tuple[int, int], base: dict[str, Any]) -> dict[str, Any]:
    return _spaces.setdefault(token, (dict(base), {}))[0]


def _set_in_space(function: FunctionType, sent: Any) -> None:
    """Set a function's state. A global that was set here since it was sent stays; all others follow the sender's."""
    token, set_state, (attributes, slots) = sent
    space, before = _spaces[token]
    names = slots["__globals__"]
    news = {name: names[name] for name in names if name not in space or space[name] is before.get(name, space)}
    before.update(news)
    set_state(function, (attributes, {**slots, "__globals__": news}))


_CachedFunction = type(lru_cache(len))


def _cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:  # noqa: FBT001 - lru_cache's own
    """Cache a function again, in a process of its own cache."""
    return lru_cache(maxsize, typed)(function)


def _number(kind: type) -> int:
    """The number under which a class of ours travels."""
    if kind not in _numbers:
        _numbers[kind] = next(_next_number)
        _sent[_numbers[kind]] = kind
    return _numbers[kind]


def _receive_class(kind: type, number: int) -> type:
    """Note the sender's number of a class that has just arrived."""
    _received[kind] = number
    return kind


def _sent_class(number: int) -> type:
    """The class that was sent under this number, which comes home; KeyError if nobody holds it any more."""
    return _sent[number]


def dumps(obj: Any) -> bytes:
    """Pickle `obj`: by reference what can be imported elsewhere, by value (cloudpickle) what cannot."""
    return _dumps(obj)[0]


def _dumps(obj: Any, *, homewards: bool = False) -> tuple[bytes, bool]:
    """Pickle `obj`, and tell whether its pickle names any class: then unpickling runs code, which may fail."""
    buffer = BytesIO()
    pickler = _Pickler(buffer, homewards=homewards)
    try:
        pickler.dump(obj)
    except Exception:  # noqa: BLE001 - whatever plain pickle refuses is cloudpickle's to try; it raises the real error
        return _dumps_by_value(obj, shared=not homewards), True
    return buffer.getvalue(), pickler.saw_classes


def pack_items(items: Sequence[Any], *, singly: bool = False) -> tuple[Parcel, dict[int, BaseException]]:
    """Pickle a list of items.

    `singly=True` asks for one pickle per item, so that the other side can unpickle the good ones when one is bad.
    Returns the parcel and the failures, offset to exception; a failed item is replaced by None in the parcel.
    """
    if not singly:
        try:
            return _dumps(items)[0], {}
        except BaseException:  # noqa: BLE001, S110 - even a SystemExit of a `__reduce__` is that item's failure only
            pass
    return _pack_singly(items)


def pack_values(
    values: list[Any], *, whole_up_to: int, homewards: bool = True
) -> tuple[Parcel, dict[int, BaseException], bool]:
    """Pickle results; gives the parcel, the failures as `pack_items`, and whether the parcel is sure to unpickle.

    Plain built-ins travel whole, and are sure to arrive. What names classes may fail on arrival: it travels whole up to
    so many bytes, if the receiver can ask for it again (0: it cannot), and else one by one. homewards: see `_Pickler`.
    """
    try:
        whole, saw_classes = _dumps(values, homewards=homewards)
    except BaseException:  # noqa: BLE001 - as in pack_items: found again, and reported, item by item
        return (*_pack_singly(values, homewards=homewards), True)
    if saw_classes and len(whole) > whole_up_to:
        return (*_pack_singly(values, homewards=homewards), True)
    return whole, {}, not saw_classes


def _pack_singly(items: Sequence[Any], *, homewards: bool = False) -> tuple[list[bytes], dict[int, BaseException]]:
    parcel, failures = [], {}
    for offset, item in enumerate(items):
        try:
            parcel.append(_dumps(item, homewards=homewards)[0])
        except BaseException as exc:  # noqa: BLE001 - as in pack_items
            parcel.append(_NONE)
            failures[offset] = exc
    return parcel, failures


_NONE = pickle.dumps(None, PROTOCOL)


def load_parcel(parcel: Parcel) -> tuple[Any, dict[int, BaseException]]:
    """Unpickle a parcel: the items, None where one failed, and the failures, offset to exception.

    Raises what unpickling raises if the parcel is whole: then nothing can be said about single items.
    """
    if isinstance(parcel, bytes):
        return loads(parcel), {}
    items, failures = [], {}
    for offset, pickled in enumerate(parcel):
        try:
            items.append(loads(pickled))
        except BaseException as exc:  # noqa: BLE001 - user code (`__setstate__`) may raise anything
            items.append(None)
            failures[offset] = exc
    return items, failures


def parcel_size(parcel: Parcel) -> int:
    """Bytes of a parcel."""
    return len(parcel) if isinstance(parcel, bytes) else sum(map(len, parcel))


@dataclass(frozen=True, slots=True)
class PackedFunction:
    """A function on its way to the workers.

    name: what messages call it. digest: names it in a worker's cache. pickled: its pickle. is_async: whether calling
    it gives a coroutine. function: the function itself, for backends that share our memory.
    """

    name: str
    digest: bytes
    pickled: bytes
    is_async: bool
    function: Callable[..., Any]


def pack_function(fn: Callable[..., Any], *, pickled: bool = True) -> PackedFunction:
    """Pickle a function once for all its chunks; `pickled=False` where the workers share our memory.

    Raises UnpicklableError, which names the attribute that fails.
    """
    data = b""
    if pickled:
        try:
            data = dumps(fn)
        except Exception as exc:
            raise unpicklable("function", fn, exc) from exc
    digest = hashlib.blake2b(data, digest_size=16).digest()
    return PackedFunction(function_name(fn), digest, data, is_coroutine_function(fn), fn)


def function_name(fn: Callable[..., Any]) -> str:
    """The name that messages, hooks and reports use: the qualified name of what is called in the end."""
    while isinstance(fn, partial | Applied):
        fn = fn.func
    return getattr(fn, "__qualname__", type(fn).__qualname__)


def is_coroutine_function(fn: Any) -> bool:
    """Whether calling `fn` gives a coroutine; looks through partials and into `__call__`, as starlette does."""
    from inspect import iscoroutinefunction

    while isinstance(fn, partial):
        fn = fn.func
    return iscoroutinefunction(fn) or (callable(fn) and iscoroutinefunction(type(fn).__call__))


class Applied:
    """`fn` of many arguments as a function of one item, the pair (args, kwargs)."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    def __call__(self, call: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        args, kwargs = call
        return self.func(*args, **kwargs)


class AppliedAsync(Applied):
    """The same for a coroutine function."""

    async def __call__(self, call: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
        args, kwargs = call
        return await self.func(*args, **kwargs)


def unpicklable(subject: str, obj: Any, cause: BaseException, *, where: str = "") -> UnpicklableError:
    """The error for something that cannot be pickled: the fact, the attribute that is to blame, and the way out.

    `subject` is "function", "item" or "result"; `where` says which one ("item 7"). No value is shown: types only.
    """
    root = {"function": "fn"}.get(subject, subject)
    path, culprit = _find_culprit(obj, root)
    kind = f"{type(culprit).__module__}.{type(culprit).__qualname__}"
    advice = {
        "function": "create it inside the function, or in an initializer of the executor, instead of capturing it",
        "item": "send what it is made from (a path, a key, bytes) and build it inside the function",
        "result": "return plain data (a dict, a tuple, bytes) made from it",
    }[subject]
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
