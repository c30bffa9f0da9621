"""Classes that travel by value, by their numbers: so that instances of them come home as instances of them."""

from __future__ import annotations

from itertools import count
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

__all__ = ("came_from_elsewhere", "received", "sent", "sent_home")

_numbers: WeakKeyDictionary[type, int] = WeakKeyDictionary()
_sent: WeakValueDictionary[int, type] = WeakValueDictionary()
_received: WeakKeyDictionary[type, int] = WeakKeyDictionary()
_next_number = count(1)
# What this process sent, by number, and what it received, with the sender's number.


def came_from_elsewhere(obj: Any) -> bool:
    """Whether this is a class that another process sent by value."""
    return isinstance(obj, type) and obj in _received


def sent(kind: type) -> Any:
    """How pickle is to reduce a class of ours that travels by value: itself, and the number it has here."""
    if kind not in _numbers:
        _numbers[kind] = next(_next_number)
        _sent[_numbers[kind]] = kind
    return received, (kind, _numbers[kind])


def received(kind: type, number: int) -> type:
    """Note the sender's number of a class that has just arrived."""
    _received[kind] = number
    return kind


def sent_home(kind: type) -> Any:
    """How pickle is to reduce a class on its way back to where it came from: its number will do."""
    return _came_home, (_received[kind],)


def _came_home(number: int) -> type:
    """The class that was sent under this number; KeyError if nobody holds it any more."""
    return _sent[number]
