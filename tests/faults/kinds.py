"""The kinds of fault that one item can commit, and what its error must be."""

from __future__ import annotations

import inspect
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from amorsize_async import execute_async
from faults import harm


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    number: the scenario. make: gives the item. error: the class of its error, by name. detail: an attribute of that
    error. deaths: workers that may die of it, in a chunk of five: two when the item is known, one more to find it among
    those of its stride, and three when it kills outside the function and is found by halving. options: what the call
    needs for it.
    """

    number: str
    name: str
    make: Callable[[], Any]
    error: str
    detail: tuple[str, Any] | None = None
    deaths: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its name in a test's."""
        return f"{self.number}_{self.name}"

    @property
    def lethal(self) -> bool:
        """Whether it takes its worker with it."""
        return self.deaths > 0

    @property
    def available(self) -> bool:
        """Whether the library has what the call needs."""
        return set(self.options) <= set(inspect.signature(execute_async).parameters)


def _function(function: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: function


def _dies(number: str, name: str, make: Callable[[], Any], exitcode: int, deaths: int = 3) -> Kind:
    return Kind(number, name, make, "WorkerCrashedError", ("exitcode", exitcode), deaths)


def _told(number: str, name: str, make: Callable[[], Any], type_name: str) -> Kind:
    return Kind(number, name, make, "RemoteError", ("type_name", type_name))


def _untravelled(number: str, name: str, make: Callable[[], Any], subject: str) -> Kind:
    return Kind(number, name, make, "UnpicklableError", ("subject", subject))


def _hangs(number: str, name: str, make: Callable[[], Any]) -> Kind:
    return Kind(number, name, make, "ItemTimeoutError", deaths=2, options={"item_timeout": 0.3})


KINDS = (
    _dies("A1", "sigkill", _function(harm.sigkill), -signal.SIGKILL),
    _dies("A2", "segfault", _function(harm.segfault), -signal.SIGSEGV),
    _dies("A2", "abort", _function(harm.abort), -signal.SIGABRT),
    _dies("A3", "exit_zero", _function(harm.exit_zero), 0),
    _dies("A3", "exit_three", _function(harm.exit_three), 3),
    _dies("A19", "sigterm", _function(harm.sigterm), -signal.SIGTERM),
    _dies("B3", "argument_kills_when_loaded", harm.KillsWhenLoaded, -signal.SIGKILL, deaths=5),
    _dies("B9", "result_kills_when_pickled", _function(harm.return_killer), 9, deaths=5),
    _dies("A15", "argument_kills_when_collected", harm.KillsWhenCollected, -signal.SIGKILL, deaths=5),
    _told("A4", "sys_exit", _function(harm.sys_exit), "SystemExit"),
    _told("A4", "keyboard_interrupt", _function(harm.interrupt), "KeyboardInterrupt"),
    _told("A4", "cancelled_error", _function(harm.cancel), "CancelledError"),
    _told("A4", "generator_exit", _function(harm.generator_exit), "GeneratorExit"),
    _told("C8", "stop_iteration", _function(harm.stop_iteration), "StopIteration"),
    _told("C8", "stop_async_iteration", _function(harm.stop_async_iteration), "StopAsyncIteration"),
    _told("B6", "exception_breaks_unpickling", _function(harm.raise_two_arguments), "TwoArgumentsError"),
    _told("B7", "exception_holds_a_lock", _function(harm.raise_with_lock), "ValueError"),
    Kind("B12", "recursion", _function(harm.recurse), "RecursionError"),
    Kind("I17", "out_of_memory", _function(harm.exhaust_memory), "MemoryError"),
    _untravelled("B2", "argument_cannot_be_pickled", threading.Lock, "item"),
    _untravelled("B3", "argument_cannot_be_unpickled", harm.Explosive, "item"),
    _untravelled("B9", "argument_exits_when_pickled", harm.Leaver, "item"),
    _untravelled("B4", "result_cannot_be_pickled", _function(harm.return_lock), "result"),
    _untravelled("B5", "result_cannot_be_unpickled", _function(harm.return_explosive), "result"),
    _hangs("D1", "hangs_in_python", _function(harm.spin)),
    _hangs("D2", "hangs_with_the_gil_held", _function(harm.hold_the_gil)),
    _hangs("A14", "is_stopped", _function(harm.stop)),
)


def names(error: BaseException, index: int) -> bool:
    """Whether the error tells which item it is about: by attribute, in a note, or in its message."""
    texts = (str(error), *getattr(error, "__notes__", ()))
    return getattr(error, "index", None) == index or any(re.search(rf"\bitem {index}\b", text) for text in texts)


def complaint(kind: Kind, error: Any, index: int) -> str | None:
    """What is wrong with the error of an item of this kind; None: nothing."""
    if type(error).__name__ != kind.error:
        return f"{kind.id} gave {error!r}, not {kind.error}"
    if not names(error, index):
        return f"{kind.id} does not name item {index}: {error!r} {getattr(error, '__notes__', '')}"
    if kind.detail is not None:
        attribute, expected = kind.detail
        if getattr(error, attribute) != expected:
            return f"{kind.id}: {attribute} is {getattr(error, attribute)!r}, not {expected!r}"
    return None


HANGS_CAN_BE_ENDED = all(kind.available for kind in KINDS if kind.error == "ItemTimeoutError")
