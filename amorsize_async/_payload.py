"""How items, results and functions cross: pickled by us, so that sizes are known and a bad item stays alone.

A list of objects travels as a parcel: one pickle of the whole list where that is safe, a list of one pickle each where
it is not. Nothing here knows an event loop.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ._culprit import unpicklable
from ._pickling import PROTOCOL, dumps, dumps_and_tell, loads

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

Parcel = bytes | list[bytes]


def pack_items(items: Sequence[Any], *, singly: bool = False) -> tuple[Parcel, dict[int, BaseException]]:
    """Pickle a list of items.

    `singly=True` asks for one pickle per item, so that the other side can unpickle the good ones when one is bad.
    Returns the parcel and the failures, offset to exception; a failed item is replaced by None in the parcel.
    """
    if not singly:
        try:
            return dumps_and_tell(items)[0], {}
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
        whole, saw_classes = dumps_and_tell(values, homewards=homewards)
    except BaseException:  # noqa: BLE001 - as in pack_items: found again, and reported, item by item
        return (*_pack_singly(values, homewards=homewards), True)
    if saw_classes and len(whole) > whole_up_to:
        return (*_pack_singly(values, homewards=homewards), True)
    return whole, {}, not saw_classes


def _pack_singly(items: Sequence[Any], *, homewards: bool = False) -> tuple[list[bytes], dict[int, BaseException]]:
    parcel, failures = [], {}
    for offset, item in enumerate(items):
        try:
            parcel.append(dumps_and_tell(item, homewards=homewards)[0])
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
