"""Pickling, whole and item by item, and the search for what cannot be pickled."""

from __future__ import annotations

import asyncio
import sys
import threading
from functools import partial
from pathlib import PurePath

import pytest

import jobs
from amorsize_async import _payload
from amorsize_async._coroutines import is_async_callable
from amorsize_async._parcel import Sliced, parcel_size
from amorsize_async.errors import UnpicklableError

LOCK = threading.Lock()


class Service:
    """Holds what no process can share."""

    def __init__(self):
        self.client = {"lock": threading.Lock()}

    def call(self, item):
        return item


def test_plain_items_travel_as_one_pickle():
    """Built-in values have nothing that could fail alone."""
    parcel, failures = _payload.pack_items([1, "two", (3.0, None)])

    assert isinstance(parcel, bytes)
    assert _payload.load_parcel(parcel) == ([1, "two", (3.0, None)], {})
    assert failures == {}


def test_a_range_travels_as_a_range():
    """A million numbers cost a few bytes."""
    parcel, _ = _payload.pack_items(range(1_000_000))

    assert parcel_size(parcel) < 100


def test_one_unpicklable_item_leaves_the_others_alone():
    """The parcel holds None at its place, and its exception is told apart."""
    parcel, failures = _payload.pack_items([1, threading.Lock(), 3])

    assert _payload.load_parcel(parcel)[0] == [1, None, 3]
    assert list(failures) == [1]


def test_plain_results_travel_whole_and_are_sure_to_arrive():
    """Built-in values run no code when they are unpickled."""
    parcel, failures, sure = _payload.pack_values([1, "two", None], whole_up_to=0)

    assert (type(parcel), failures, sure) == (bytes, {}, True)


def test_results_that_hold_classes_travel_whole_if_they_can_be_asked_for_again():
    """A class then travels once for all of them."""
    parcel, _, sure = _payload.pack_values([PurePath("a")] * 50, whole_up_to=1 << 20)

    assert (type(parcel), sure) == (bytes, False)
    assert parcel_size(parcel) < 500


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1_000, 100_000])
def test_many_results_travel_in_slices_and_arrive_in_order(count):
    """None is missing and none is there twice, wherever the bounds between two slices are."""
    values = [{"number": number} for number in range(count)]

    parcel, _, sure = _payload.pack_values(values, whole_up_to=0)

    assert (_payload.load_parcel(parcel)[0], sure) == (values, True)
    assert isinstance(parcel, Sliced) == (count > 64)


def test_slices_take_about_as_long_as_each_other():
    """Results that are dear to pickle make smaller slices than cheap ones."""
    dear = [[str(number) * 3] * 1 + list(range(400)) for number in range(2_000)]

    (slow, _, _), (quick, _, _) = (_payload.pack_values(values, whole_up_to=0) for values in (dear, [1] * 2_000))

    assert len(slow.slices) > 2 * len(quick.slices)


def test_what_results_of_several_slices_share_travels_once():
    """A thousand references to one table are not a thousand tables, and still are one table over there."""
    table = {f"row {number}": [number, str(number)] for number in range(3_000)}

    parcel, _, _ = _payload.pack_values([table] * 1_000, whole_up_to=0)
    values, _ = _payload.load_parcel(parcel)

    assert isinstance(parcel, Sliced)
    assert parcel_size(parcel) < 2 * len(_payload.dumps(table))
    assert (values[-1], len(set(map(id, values)))) == (table, 1)


def test_what_goes_by_value_only_behind_many_plain_results_arrives():
    """The slices before it are given up: one pickler cannot do both."""
    parcel, failures, _ = _payload.pack_values([*range(1_000), lambda: "by value"], whole_up_to=1 << 20)
    values, _ = _payload.load_parcel(parcel)

    assert (values[:-1], values[-1](), failures) == (list(range(1_000)), "by value", {})


def test_results_that_hold_classes_are_sent_one_by_one_if_not():
    """What may fail to unpickle in the parent fails alone there."""
    parcel, _, sure = _payload.pack_values([1, jobs.Bomb(), 3], whole_up_to=0)
    values, failures = _payload.load_parcel(parcel)

    assert sure

    assert values == [1, None, 3]
    assert [str(exc) for exc in failures.values()] == ["boom"]


def test_lambdas_and_closures_travel_by_value():
    """A function that cannot be imported is sent as it is."""
    offset = 5

    assert _payload.loads(_payload.dumps(lambda x: x + offset))(1) == 6


@pytest.mark.parametrize(
    ("fn", "path"),
    [
        pytest.param(partial(jobs.identity, key=threading.Lock()), "fn.keywords['key']", id="partial"),
        pytest.param(Service().call, "fn.__self__.client.values()[0]", id="method"),
        pytest.param(lambda x, lock=LOCK: x, "fn.__defaults__[0]", id="default"),
    ],
)
def test_an_unpicklable_function_is_reported_by_the_attribute_that_fails(fn, path):
    """The message says where the culprit is and what to do."""
    with pytest.raises(UnpicklableError, match="create it inside the function") as caught:
        _payload.pack_function(fn)

    assert caught.value.path == path
    assert "lock" in str(caught.value)


def test_a_captured_variable_is_reported_by_its_name():
    """Closures are looked into."""
    connection = threading.Lock()

    with pytest.raises(UnpicklableError, match=r"fn\.connection is a _thread\.lock"):
        _payload.pack_function(lambda x: (x, connection))


@pytest.mark.parametrize("kind", [StopIteration, asyncio.CancelledError, RuntimeError], ids=lambda kind: kind.__name__)
def test_what_raises_when_it_is_looked_into_is_to_blame_as_a_whole(kind):
    """A proxy without its target, for example: the error names the item and does not come from the search."""

    class Proxy(dict):
        def __reduce_ex__(self, _protocol):
            raise ValueError

        def values(self):
            raise kind

    error = _payload.unpicklable("item", Proxy(), ValueError())

    assert error.path == "item"


def test_no_value_of_the_users_appears_in_the_message():
    """A key of a dictionary may be a secret."""
    with pytest.raises(UnpicklableError) as caught:
        _payload.pack_function(partial(jobs.identity, {"canary-7f3a": threading.Lock()}))

    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("fn", [jobs.square_soon, partial(jobs.square_soon)], ids=["function", "partial"])
def test_coroutine_functions_are_recognised(fn):
    """Through partials and `__call__` too."""

    class Callable:
        async def __call__(self, item):
            return item

    assert is_async_callable(fn)
    assert is_async_callable(Callable())
    assert not is_async_callable(jobs.square)


def test_the_same_function_has_the_same_digest():
    """Workers keep functions by digest."""
    assert _payload.pack_function(jobs.square).digest == _payload.pack_function(jobs.square).digest
    assert _payload.pack_function(jobs.square).digest != _payload.pack_function(jobs.identity).digest


def test_a_standard_stream_arrives_as_the_one_over_there(monkeypatch, tmp_path):
    """What writes to `sys.stdout` does so wherever it runs; any other open file is refused."""
    (tmp_path / "text").touch()
    with (tmp_path / "text").open() as stream:
        with pytest.raises(TypeError, match="cannot pickle an open file"):
            _payload.dumps([stream])
        monkeypatch.setattr(sys, "stdout", stream)
        assert _payload.loads(_payload.dumps([stream])) == [stream]
