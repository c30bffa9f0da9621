"""Ask a server many questions at once from worker processes, and work on each answer beside the loop.

Shows an `async def` function: each worker runs it on a loop of its own, many items at a time. The server is a small one
of our own on 127.0.0.1, and thinks for 20 ms about each question.

    python examples/async_functions.py
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from functools import partial

from amorsize_async import execute_async

QUESTIONS = 150
THINKING = 0.02
ROUNDS = 2_000
"""Of the hash, for each answer: about a millisecond of work, which no other question waits for in another process."""


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be the server: wait a little, and send the question back in capitals."""
    question = await reader.readline()
    await asyncio.sleep(THINKING)
    writer.write(question.upper())
    await writer.drain()
    writer.close()


async def ask(port: int, number: int) -> str:
    """Ask one question, and compute a fingerprint of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"question {number}\n".encode())
    answered = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return hashlib.pbkdf2_hmac("sha256", answered, b"salt", ROUNDS).hex()


async def main() -> None:
    """Ask one at a time, then all of them in workers, and compare."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=QUESTIONS)
    asking = partial(ask, server.sockets[0].getsockname()[1])
    async with server:
        began = time.perf_counter()
        expected = [await asking(number) for number in range(QUESTIONS)]
        one_by_one = time.perf_counter() - began
        began = time.perf_counter()
        answers, report = await execute_async(asking, range(QUESTIONS), return_report=True)
        at_once = time.perf_counter() - began
    print(f"one at a time  {one_by_one:.2f} s")
    print(f"in workers     {at_once:.2f} s, their start included: {one_by_one / at_once:.1f} times as fast")
    print(f"the same {len(answers)} answers: {answers == expected}")
    print(report.explain())


if __name__ == "__main__":
    asyncio.run(main())
