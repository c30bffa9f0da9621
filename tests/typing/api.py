"""What type checkers must infer from the public calls. Never run: `nox -s typing` checks it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, assert_type

from amorsize_async import (
    AsyncExecutor,
    HookContext,
    HookEvent,
    HookManager,
    Job,
    Report,
    ResultStream,
    RetryPolicy,
    execute,
    execute_async,
    stream_async,
)


def plain(number: int) -> bytes:
    """A plain function."""
    return bytes(number)


async def soon(number: int) -> str:
    """A coroutine function."""
    return str(number)


async def arriving() -> AsyncIterator[int]:
    """An async iterable."""
    yield 1


async def the_result_type_of_the_function_flows_through() -> None:
    """`R` of `fn: Callable[[T], R]` becomes `list[R]`, awaited once for `async def`."""
    assert_type(await execute_async(plain, [1]), list[bytes])
    assert_type(await execute_async(soon, range(3), n_jobs=2), list[str])
    assert_type(await execute_async(plain, arriving()), list[bytes])
    assert_type(await execute_async(plain, [1], return_report=True), tuple[list[bytes], Report])
    assert_type(await execute_async(soon, [1], return_report=True, executor="thread"), tuple[list[str], Report])
    assert_type(await execute_async(plain, [1], return_exceptions=True), list[Any])
    assert_type(execute(plain, [1], executor=ThreadPoolExecutor()), list[bytes])
    assert_type(execute(plain, [1], retry=RetryPolicy(attempts=2), item_timeout=1.5), list[bytes])
    assert_type(stream_async(plain, [1], retry=3, item_timeout=None), ResultStream[bytes])
    assert_type(execute(plain, [1], return_report=True), tuple[list[bytes], Report])


async def streams_are_typed_by_their_values() -> None:
    """So is what `enumerate` gives."""
    stream = stream_async(soon, [1], ordered=False, buffersize=10)
    assert_type(stream, ResultStream[str])
    async with stream as results:
        async for value in results:
            assert_type(value, str)
        async for index, value in results.enumerate():
            assert_type((index, value), tuple[int, str])


async def executors_are_typed_like_the_functions() -> None:
    """And `submit` checks its arguments."""
    async with AsyncExecutor(2) as executor:
        assert_type(await executor.execute(plain, [1]), list[bytes])
        assert_type(executor.stream(plain, [1]), ResultStream[bytes])
        assert_type(await executor.submit(plain, 3), bytes)
        assert_type(await executor.submit(soon, number=3), str)
        await executor.submit(plain, "3")  # type: ignore[call-overload]


def wrong_calls_are_errors() -> None:
    """Each of these must not pass; an ignore that is not needed is an error itself."""
    execute(plain, ["a"])  # type: ignore[arg-type]
    execute(plain, [1], chunk_size=3)  # type: ignore[call-overload]
    execute(plain, [1], retry="3")  # type: ignore[call-overload]
    execute(plain, [1], executor="threads")  # type: ignore[call-overload]


def hooks_of_both_colours_are_accepted() -> None:
    """A decorated function stays what it was."""
    hooks = HookManager()

    @hooks.on(HookEvent.ON_PROGRESS, timeout=2.0)
    async def push(ctx: HookContext) -> int:
        return ctx.items_completed

    hooks.register(HookEvent.ON_ERROR, lambda ctx: ctx.error)


async def jobs_are_typed_by_their_results() -> None:
    """And `start` without arguments gives the executor."""
    executor = AsyncExecutor()
    assert_type(await executor.start(), AsyncExecutor)
    assert_type(executor.start(plain, [1], n_jobs=2), Job[bytes])
    assert_type(executor.start(soon, arriving()), Job[str])
    assert_type(await executor.start(soon, [1]), list[str])
    assert_type(executor.start(plain, [1], return_exceptions=True), Job[Any])
