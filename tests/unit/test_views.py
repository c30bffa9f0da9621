"""Memoryviews: equal over there, or refused; never something else instead."""

from __future__ import annotations

import array
import ctypes
import sys

import numpy as np
import pytest

from amorsize_async import _payload
from amorsize_async.errors import UnpicklableError

HALF = [pytest.param("f2", marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="no cast to half floats"))]


def there_and_back(item):
    """What a worker would get."""
    return _payload.loads(_payload.dumps(item))


@pytest.mark.parametrize("kind", [*"?bBhHiIlLqQfd", *HALF])
@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, 3, 4), ()])
def test_a_view_of_numbers_arrives_equal(kind, shape):
    """Whatever their type and the number of dimensions."""
    view = memoryview(np.ones(24, dtype=kind).reshape(shape) if shape else np.ones((), dtype=kind))
    back = there_and_back(view)

    assert (type(back), back.format, back.shape, back.readonly) == (memoryview, view.format, view.shape, False)
    assert back.tobytes() == view.tobytes()
    assert shape == () or back == view


@pytest.mark.parametrize(
    "kind", [ctypes.c_byte, ctypes.c_short, ctypes.c_int, ctypes.c_long, ctypes.c_longlong, ctypes.c_double]
)
def test_a_view_of_an_array_of_ctypes_arrives_equal(kind):
    """Their formats say in which order the bytes are, even where that is the order of this machine."""
    view = memoryview((kind * 3)(1, 2, 3))
    back = there_and_back(view)

    assert (type(back), back.itemsize) == (memoryview, view.itemsize)
    assert back == view


def test_standard_sizes_are_not_those_of_this_machine():
    """A long is four bytes where the byte order is written, and eight where it is not."""
    view = memoryview(np.arange(5, dtype="<i4" if sys.byteorder == "little" else ">i4"))
    record = memoryview((ctypes.c_int32 * 5)(*range(5)))

    assert there_and_back(view) == view == there_and_back(record)


@pytest.mark.parametrize(
    "item",
    [
        np.arange(5, dtype=">i4" if sys.byteorder == "little" else "<i4"),
        np.zeros(5, dtype=[("a", "i4"), ("b", "f8")]),
        np.arange(4, dtype="c16"),
        np.array(["ab", "c"]),
    ],
    ids=["other byte order", "records", "complex numbers", "texts"],
)
def test_a_view_that_cannot_be_made_again_is_refused(item):
    """It used to arrive as bytes, which are not equal to it; the object itself travels."""
    with pytest.raises(TypeError, match=r"memoryview of format .* cannot be made in another process"):
        _payload.dumps(memoryview(item))
    with pytest.raises(UnpicklableError):
        _payload.pack_function([memoryview(item)].count)

    np.testing.assert_array_equal(there_and_back(item), item)


def test_a_view_with_gaps_arrives_without_them():
    """And can be written to, or not, as here."""
    for data in (bytes(range(100)), bytearray(range(100)), array.array("i", range(100))):
        view = memoryview(data)[::-3]
        back = there_and_back(view)

        assert back == view
        assert back.readonly == view.readonly
        assert back.c_contiguous


@pytest.mark.parametrize("code", "bhilqfd")
@pytest.mark.parametrize("readonly", [False, True])
def test_an_empty_view_keeps_its_format(code, readonly):
    """A batch may be empty, and what it becomes over there has the type of its elements."""
    view = memoryview(array.array(code))
    back = there_and_back(view.toreadonly() if readonly else view)

    assert (back.format, back.itemsize, back.shape) == (code, view.itemsize, (0,))
    assert back.readonly == readonly
