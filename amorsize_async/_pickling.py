"""How one object becomes a pickle: by reference what can be imported elsewhere, by value what cannot.

Standard library, `_numbered`, `_parts`, `_stand_ins` and `_views` only; cloudpickle is imported when something has to
travel by value, and not before.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Callable
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, NamedTuple

from ._numbered import came_from_elsewhere, sent, sent_home
from ._parts import TooLarge, Watch
from ._stand_ins import MAIN_MODULES, NAMED, reduced_alias, reduced_function, stand_in_for
from ._views import reduced_view

__all__ = ("PROTOCOL", "Output", "Pickled", "Pickling", "dumps")

PROTOCOL = 5
# The newest protocol that every supported Python writes and reads.

_CachedFunction = type(lru_cache(len))

_OF_A_MODULE = (type, FunctionType, _CachedFunction, *NAMED)
# What pickles as a name in its module.


class _TravelsByValue(Exception):  # noqa: N818 - a signal between two lines of this module, never seen outside
    """Says that the object belongs to `__main__`, which a worker does not import."""


OWN_BUFFER = 1 << 14
# Bytes from which a buffer travels beside the pickle, where it can: below, one more piece costs more than a copy.

SAFE_PACKAGES = ("numpy",)
# What runs no code of the user's when it is unpickled: its objects are taken for as sure to arrive as built-ins.


class Pickled(NamedTuple):
    """One pickle: its bytes in parts, and how many; the buffers that travel beside it; whether it names any class."""

    parts: list[bytes]
    size: int
    buffers: list[memoryview]
    saw_classes: bool

    def joined(self) -> bytes:
        """All of it but the buffers."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


class Output:
    """What a pickler writes to: the stream and the buffers (PEP 574) of one pickle, and then of the next.

    It keeps what is written as it comes: joining the parts would copy them once more.
    """

    def __init__(self) -> None:
        self._watch: Watch | None = None

    def begin(self, watch: Watch | None) -> None:
        """Make ready for the next pickle."""
        self._watch = watch
        self.parts: list[bytes] = []
        self.buffers: list[memoryview] = []
        self.size = 0

    def write(self, part: Any) -> None:
        """Called by a pickler, with bytes or with what holds some."""
        data = part if type(part) is bytes else bytes(part)
        self.parts.append(data)
        self.size += len(data)
        if self._watch is not None:
            self._watch(self.size, 0)

    def set_aside(self, buffer: pickle.PickleBuffer) -> bool:
        """Called by a pickler for each buffer: keeps the large ones; tells whether it shall go in band."""
        raw = buffer.raw()
        if raw.nbytes < OWN_BUFFER:
            return True
        self.buffers.append(raw)
        return False


Beside = Callable[[pickle.PickleBuffer], bool] | None


class _Pickler(pickle.Pickler):
    """Plain pickle that notes whether anything but built-ins came by, and handles what cannot be imported elsewhere.

    homewards: the pickle goes to the process that such a class came from: its number will do. Elsewhere, and all that
    did not come from there, has to travel by value.
    """

    def __init__(self, file: Output, *, homewards: bool, beside: Beside) -> None:
        super().__init__(file, PROTOCOL, buffer_callback=beside)
        self.saw_classes = False
        self._homewards = homewards

    def reducer_override(self, obj: Any) -> Any:
        """Called by pickle for everything but the built-in types."""
        if type(obj) is memoryview:
            return reduced_view(obj)
        self.saw_classes = self.saw_classes or not (type(obj) in _safe or _is_safe(obj))
        if self._homewards and came_from_elsewhere(obj):
            return sent_home(obj)
        if isinstance(obj, _OF_A_MODULE) and obj.__module__ in MAIN_MODULES:
            raise _TravelsByValue
        return NotImplemented


def _is_safe(obj: Any) -> bool:
    """Whether unpickling `obj` (what it holds aside) runs none of the user's code."""
    by_name = isinstance(obj, type | FunctionType | BuiltinFunctionType)
    kind = obj if by_name else type(obj)
    safe = (kind.__module__ or "").partition(".")[0] in SAFE_PACKAGES
    if safe and not by_name:
        _safe.add(kind)
    return safe


_safe: set[type] = set()
# Classes whose instances have come by and are safe: there may be thousands more.


def _pickler_by_value(file: Output, *, shared: bool, beside: Beside) -> Any:
    """A pickler of cloudpickle's; classes are numbered, so that their instances come home as instances of them.

    shared: whether the functions of `__main__` share its globals over there, too; see `_spaces`.

    The pickle of a class is its number and itself. On the inner visit, cloudpickle makes the class; pickle then finds
    the outer result made already, and keeps the first.
    """
    import cloudpickle

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
        saw_classes = True

        def __init__(self, file: Output, beside: Beside) -> None:
            super().__init__(file, protocol=PROTOCOL, buffer_callback=beside)
            self._visited: set[Any] = set()

        def reducer_override(self, obj: Any) -> Any:
            if type(obj) is memoryview:
                return reduced_view(obj)
            stand_in = stand_in_for(obj) or reduced_alias(obj, self._visited)
            if stand_in is not None:
                return stand_in
            if isinstance(obj, _CachedFunction) and obj.__module__ in MAIN_MODULES:
                parameters = obj.cache_parameters()
                return _cached, (obj.__wrapped__, parameters["maxsize"], parameters["typed"])
            if isinstance(obj, type) and obj.__module__ in MAIN_MODULES and obj not in self._visited:
                self._visited.add(obj)
                return sent(obj)
            reduced = reduced_function(super().reducer_override, obj)
            return _in_its_space(obj, reduced) if shared and isinstance(obj, FunctionType) else reduced

    if "__mp_main__" in sys.modules:  # cloudpickle would take it for a module that can be imported
        cloudpickle.register_pickle_by_value(sys.modules["__mp_main__"])
    return ByValue(file, beside)  # not from the closure: a class waits for the garbage collector


_spaces: dict[tuple[int, int], tuple[dict[str, Any], dict[str, bytes | None]]] = {}
# Globals that functions of another process's `__main__` share here: by its pid and their id there, with the digests of
# what was sent last. cloudpickle alone gives each pickle globals of its own, and then what an initializer sets, or a
# function caches, no other function sees.


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
    """Set a function's state. A global follows the sender's if that has changed since it was sent last, else stays."""
    token, set_state, (attributes, slots) = sent
    space, before = _spaces[token]
    news = {}
    for name, value in slots["__globals__"].items():
        digest = _digest(value)
        if name not in space or digest is None or digest != before.get(name):
            news[name] = value
        before[name] = digest
    set_state(function, (attributes, {**slots, "__globals__": news}))


def _digest(value: Any) -> bytes | None:
    """Tells equal values from changed ones; None for what always follows the sender: code, and what has no pickle."""
    if isinstance(value, FunctionType | BuiltinFunctionType | type | ModuleType):
        return None
    try:
        return hashlib.blake2b(dumps(value), digest_size=16).digest()
    except Exception:  # noqa: BLE001 - user code; what arrived by some other way may refuse this one
        return None


def _cached(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:  # noqa: FBT001 - lru_cache's own
    """Cache a function again, in a process of its own cache."""
    return lru_cache(maxsize, typed)(function)


class Pickling:
    """A pickler for several objects, one after the other, which one `Unpickling` then takes in the same order.

    What they share is pickled once, and is one object over there, as if all were in one pickle. homewards: see
    `_Pickler`. out_of_band: whether large buffers travel beside the pickles.
    """

    def __init__(self, *, homewards: bool = False, out_of_band: bool = False) -> None:
        self._output = Output()
        self._homewards, self._beside = homewards, self._output.set_aside if out_of_band else None
        self._pickler: Any = _Pickler(self._output, homewards=homewards, beside=self._beside)
        self._begun = False

    def pickled(self, obj: Any, watch: Watch | None = None) -> Pickled:
        """The next one, by reference what can be imported elsewhere, by value (cloudpickle) what cannot.

        watch: told of each part that is written; what it raises ends it. After whatever this raises, all that was
        pickled so far is of no use: what only goes by value, and comes after what does not, raises, too.
        """
        try:
            return self._next(obj, watch)
        except TooLarge:
            raise
        except Exception:  # whatever plain pickle refuses is cloudpickle's to try; it raises the real error
            if self._begun:
                raise
        self._pickler = _pickler_by_value(self._output, shared=not self._homewards, beside=self._beside)
        return self._next(obj, watch)

    def _next(self, obj: Any, watch: Watch | None) -> Pickled:
        output = self._output
        output.begin(watch)
        self._pickler.dump(obj)
        self._begun = True
        return Pickled(output.parts, output.size, output.buffers, self._pickler.saw_classes)


def dumps(obj: Any) -> bytes:
    """Pickle `obj`: by reference what can be imported elsewhere, by value (cloudpickle) what cannot."""
    return Pickling().pickled(obj).joined()
