"""How items, results and functions cross: pickled by us, so that sizes are known and a bad item stays alone.

A list of objects travels as a parcel, see `_parcel`: whole, or in slices, where that is safe, in one pickle for each
object where it is not. Nothing here knows an event loop.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ._coroutines import is_async_callable
from ._culprit import unpicklable
from ._parcel import Bundle, Parcel, Sliced, parcel_size
from ._parts import TooLarge, Watch
from ._pickling import PROTOCOL, Pickled, Pickling, dumps
from ._stopwatch import busy
from ._unpickling import Unpickling, load_pickle, loads

__all__ = (
    "LARGE_PICKLE",
    "Applied",
    "AppliedAsync",
    "PackedFunction",
    "Packing",
    "Pickling",
    "Unpickling",
    "dumps",
    "load_parcel",
    "load_pickle",
    "loads",
    "pack_function",
    "pack_items",
    "pack_values",
    "unpicklable",
)

DIGEST_BYTES = 16

LARGE_PICKLE = 1 << 16
# Bytes from which a pickle is a bundle: what a pipe takes at once.

FIRST_SLICE, SLICE_SECONDS, SLICE_BYTES, MAX_GROWTH = 64, 0.00025, 96 << 10, 64
# Results in the first slice of a chunk's; what pickling one more may take and hold, so that the other side has it
# unpickled in half a millisecond; and how many times as many as the one before it may be.


@dataclass(frozen=True, slots=True)
class Packing:
    """How to pickle: singly: one pickle for each item, so that the good ones arrive when one does not unpickle.

    out_of_band: whether bundles can travel. watch: told of each part that is written, see `_parts`; what it raises ends
    the packing if it is TooLarge. homewards: see `_pickling`.
    """

    singly: bool = False
    out_of_band: bool = False
    watch: Watch | None = None
    homewards: bool = False

    def packed(self, obj: Any) -> tuple[bytes | Bundle, bool]:
        """The pickle of one object, and whether it names any class."""
        done = self.pickling().pickled(obj, self.watch)
        return self.bundled(done), done.saw_classes

    def pickling(self) -> Pickling:
        """What pickles one object after the other, before it is known how they travel."""
        return Pickling(homewards=self.homewards, out_of_band=self.out_of_band)

    def bundled(self, done: Pickled, *, large: bool = False) -> bytes | Bundle:
        """A pickle, as it travels; large: whether the parcel is that it is a part of."""
        if self.out_of_band and (done.buffers or large or done.size >= LARGE_PICKLE):
            return Bundle(done.parts, done.buffers)
        return done.joined()


def pack_items(items: Sequence[Any], how: Packing = Packing()) -> tuple[Parcel, dict[int, BaseException]]:
    """Pickle a list of items.

    Returns the parcel and the failures, offset to exception; a failed item is replaced by None in the parcel. Raises
    TooLarge where the watch does, and KeyboardInterrupt, which may be the user's own Ctrl-C.
    """
    if not how.singly:
        try:
            return how.packed(items)[0], {}
        except (TooLarge, KeyboardInterrupt):
            raise
        except BaseException:  # noqa: BLE001, S110 - even a SystemExit of a `__reduce__` is that item's failure only
            pass
    return _pack_singly(items, how, raised=(TooLarge, KeyboardInterrupt))


def pack_values(
    values: list[Any], *, whole_up_to: int, out_of_band: bool = False, homewards: bool = True
) -> tuple[Parcel, dict[int, BaseException], bool]:
    """Pickle results; gives the parcel, the failures as `pack_items`, and whether the parcel is sure to unpickle.

    Plain built-ins travel whole, and are sure to arrive. What names classes may fail on arrival: it travels whole up to
    so many bytes, if the receiver can ask for it again (0: it cannot), and else one by one. homewards: see `_Pickler`.
    """
    how = Packing(out_of_band=out_of_band, homewards=homewards)
    try:
        whole, saw_classes = _in_slices_or_whole(values, how)
    except BaseException:  # noqa: BLE001 - as in pack_items: found again, and reported, item by item
        return (*_pack_singly(values, how), True)
    if saw_classes and parcel_size(whole) > whole_up_to:
        return (*_pack_singly(values, how), True)
    return whole, {}, not saw_classes


def _in_slices_or_whole(values: list[Any], how: Packing) -> tuple[bytes | Bundle | Sliced, bool]:
    try:
        return _in_slices(values, how)
    except Exception:  # noqa: BLE001 - user code; whole, it may go by value
        return how.packed(values)


def _in_slices(values: list[Any], how: Packing) -> tuple[bytes | Bundle | Sliced, bool]:
    """Pickle a list in slices that take about `SLICE_SECONDS` each; tells whether any of them names a class.

    Raises what pickling raises, and what only goes by value raises behind what does not.
    """
    pickling = how.pickling()
    slices: list[Pickled] = []
    done, width = 0, FIRST_SLICE
    while done < len(values) or not slices:
        began = busy()
        slices.append(pickling.pickled(values if width >= len(values) and not done else values[done : done + width]))
        done += width
        width = _next_width(width, busy() - began, slices[-1].size)
    large = sum(each.size for each in slices) >= LARGE_PICKLE
    pickles = tuple(how.bundled(each, large=large) for each in slices)
    return Sliced(pickles) if len(pickles) > 1 else pickles[0], any(each.saw_classes for each in slices)


def _next_width(width: int, seconds: float, size: int) -> int:
    """Objects of the next slice, from what the last one took."""
    most = min(SLICE_SECONDS / max(seconds, 1e-9), SLICE_BYTES / max(size, 1), MAX_GROWTH)
    return max(1, int(width * most))


def _pack_singly(
    items: Sequence[Any], how: Packing, raised: tuple[type[BaseException], ...] = ()
) -> tuple[list[bytes | Bundle], dict[int, BaseException]]:
    parcel: list[bytes | Bundle] = []
    failures: dict[int, BaseException] = {}
    for offset, item in enumerate(items):
        try:
            parcel.append(how.packed(item)[0])
        except raised:
            raise
        except BaseException as exc:  # noqa: BLE001 - as in pack_items
            parcel.append(_NONE)
            failures[offset] = exc
    return parcel, failures


_NONE = pickle.dumps(None, PROTOCOL)


def load_parcel(parcel: Parcel, *, gently: bool = False) -> tuple[Any, dict[int, BaseException]]:
    """Unpickle a parcel: the items, None where one failed, and the failures, offset to exception.

    Raises what unpickling raises if the parcel is whole: then nothing can be said about single items. gently: let other
    threads run meanwhile.
    """
    if isinstance(parcel, Sliced):
        unpickling = Unpickling(gently=gently)
        return _joined(unpickling.load(each) for each in parcel.slices), {}
    if not isinstance(parcel, list):
        return load_pickle(parcel, gently=gently), {}
    items, failures = [], {}
    for offset, each in enumerate(parcel):
        try:
            items.append(load_pickle(each, gently=gently))
        except BaseException as exc:  # noqa: BLE001 - user code (`__setstate__`) may raise anything
            items.append(None)
            failures[offset] = exc
    return items, failures


def _joined(lists: Iterable[list[Any]]) -> list[Any]:
    joined: list[Any] = []
    for each in lists:
        joined += each
    return joined


@dataclass(frozen=True, slots=True)
class PackedFunction:
    """A function on its way to the workers.

    name: what messages call it. digest: names it in a worker's cache. cost_key: names it among the costs of earlier
    runs. pickled: its pickle. is_async: whether calling it gives a coroutine. function: the function itself, for
    backends that share our memory. home: the address of the arena that its bundle lies in, None if it is in band.
    """

    name: str
    digest: bytes
    cost_key: bytes
    pickled: bytes | Bundle
    is_async: bool
    function: Callable[..., Any]
    home: Any = None


def pack_function(
    fn: Callable[..., Any], *, pickled: bool = True, out_of_band: bool = False, watch: Watch | None = None
) -> PackedFunction:
    """Pickle a function once for all its chunks; `pickled=False` where the workers share our memory.

    What it holds beside its pickle is not looked through to give it a digest: that would take longer than sending it.
    Raises UnpicklableError, which names the attribute that fails.
    """
    data: bytes | Bundle = b""
    if pickled:
        try:
            data = Packing(out_of_band=out_of_band, watch=watch).packed(fn)[0]
        except TooLarge:
            raise
        except BaseException as exc:  # as in pack_items: a SystemExit would end the loop of whoever waits
            raise unpicklable("function", fn, exc) from exc
    key = _digest(data)
    digest = os.urandom(DIGEST_BYTES) if isinstance(data, Bundle) and data.buffers else key
    return PackedFunction(function_name(fn), digest, key, data, is_async_callable(fn), fn)


def _digest(data: bytes | Bundle) -> bytes:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in data.stream if isinstance(data, Bundle) else (data,):
        digest.update(part)
    return digest.digest()


def function_name(fn: Callable[..., Any]) -> str:
    """The name that messages, hooks and reports use: the qualified name of what is called in the end."""
    while isinstance(fn, partial | Applied):
        fn = fn.func
    return getattr(fn, "__qualname__", type(fn).__qualname__)


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
