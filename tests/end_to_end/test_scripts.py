"""Whole programs in processes of their own: scripts without a guard, `python -c`, stdin, Ctrl-C, SIGKILL, exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from pages import blocks_of

SCRIPT = """
import asyncio
from amorsize_async import execute_async

class Point:
    def __init__(self, x): self.x = x

def move(point):
    return Point(point.x + 1)

points = asyncio.run(execute_async(move, [Point(1), Point(2)]))
assert [type(point) is Point for point in points] == [True, True]
print([point.x for point in points])
"""


def run(*command, stdin=None, **options):
    """Run a program to its end; it gets a minute."""
    return subprocess.run(
        [sys.executable, *command], input=stdin, capture_output=True, text=True, timeout=60, check=False, **options
    )


FIRST_CALL = """
import asyncio, sys
from amorsize_async import AsyncExecutor

async def main():
    async with AsyncExecutor(1) as executor:
        before = set(sys.modules)
        await executor.execute(abs, range(100))
        print(sorted(set(sys.modules) - before))

asyncio.run(main())
"""


def test_the_first_call_imports_nothing():
    """It would hold the loop: what is needed late is imported in a thread, while the workers start."""
    done = run("-c", FIRST_CALL)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")


DAEMON = """
import asyncio, threading, time
from amorsize_async import AsyncExecutor

async def work():
    async with AsyncExecutor(2) as executor:
        async with executor.stream(naps, range(1_000_000)) as results:
            async for _ in results:
                begun.set()

def naps(item):
    time.sleep(0.01)

begun = threading.Event()
threading.Thread(target=asyncio.run, args=(work(),), daemon=True).start()
begun.wait()
"""

LEFT = """
import asyncio, time
from amorsize_async import AsyncExecutor

def fail(item):
    if not item:
        time.sleep(0.3)
    raise ValueError("x" * 300)

async def main():
    executor = await AsyncExecutor(1).start()
    await executor.execute(abs, [-1])
    executor.start(fail, range(3000), return_exceptions=True, chunksize=3000)
    await asyncio.sleep(0.1)
    return executor

loop = asyncio.new_event_loop()
executor = loop.run_until_complete(main())
"""


@pytest.mark.parametrize("program", [DAEMON, LEFT], ids=["its loop runs on", "its loop has stopped"])
def test_a_program_ends_that_leaves_its_calls_alone(program):
    """The interpreter waits for what pools of processes have to do: they take no more, and say nothing to nobody."""
    began = time.monotonic()

    done = run("-c", program)

    assert done.returncode == 0
    assert time.monotonic() - began < 20


FORKED = """
import asyncio
from amorsize_async import AsyncExecutor

def uses_anyio(item):
    import anyio
    anyio.run(anyio.sleep, 0)
    return item

async def main():
    async with AsyncExecutor(4, start_method="fork") as executor, asyncio.timeout(20):
        print(await executor.execute(uses_anyio, range(8), chunksize=1))

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_workers_may_import_what_we_do():
    """A module that another thread is importing when a process is forked stays half imported there, and locked."""
    done = run("-W", "ignore", "-c", FORKED)

    assert done.stdout.strip() == str(list(range(8)))


SINGLE_LOOP = """
import asyncio, threading, warnings
warnings.simplefilter("ignore")
from amorsize_async import execute_async

class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        assert threading.current_thread() is threading.main_thread()
        return super().new_event_loop()

asyncio.set_event_loop_policy(Policy())
print(asyncio.run(execute_async(abs, [-1, -2, 3], n_jobs=2)))
"""


def test_an_application_whose_loops_are_for_its_main_thread_only_is_not_disturbed():
    """As those of windowing toolkits are: what we do in threads makes no loop of its kind."""
    done = run("-c", SINGLE_LOOP)

    assert (done.stdout.strip(), done.stderr) == ("[1, 2, 3]", "")


def test_a_script_without_a_guard_works(tmp_path):
    """Its main module is not imported again in the workers."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = run(path)

    assert (done.stdout, done.stderr, done.returncode) == ("[2, 3]\n", "", 0)


def test_a_program_on_the_command_line_works():
    """`python -c`, with a lambda."""
    done = run("-c", "from amorsize_async import execute; print(execute(lambda x: x * 2, [1, 2]))")

    assert (done.stdout, done.stderr, done.returncode) == ("[2, 4]\n", "", 0)


LAZY = """
lazy import json
lazy from os.path import join
lazy import there_is_no_such_module as missing
from amorsize_async import execute

print(execute(lambda x: (json.dumps([x]), join("a", "b"), missing.value if x > 2 else None), [1, 2]))
try:
    execute(lambda x: missing.value, [1])
except ImportError as exc:
    print(exc)
"""


@pytest.mark.skipif(sys.version_info < (3, 15), reason="lazy imports came with Python 3.15")
def test_what_a_program_imports_lazily_is_there_in_its_workers():
    """That it cannot be imported shows where it is used."""
    done = run("-c", LAZY)

    assert done.stdout.splitlines() == [
        "[('[1]', 'a/b', None), ('[2]', 'a/b', None)]",
        "No module named 'there_is_no_such_module'",
    ], done.stderr


UNREADABLE = """
from typing import TYPE_CHECKING
from amorsize_async import execute

if TYPE_CHECKING:
    from there_is_no_such_module import Later

class Halved:
    def __init__(self, value: Later) -> None:
        self.value = value / 2

    def more(self, by: Later = 1, *, times: Later = 1) -> Later:
        return self.value + by * times

def doubled(value: Later) -> Later:
    "Twice as much."
    return doubled.factor * value

doubled.factor = 2
print(execute(lambda value: (Halved(doubled(value)).more(times=3), doubled.__doc__), [1, 2]))
print(execute(Halved.more, [Halved(4)]))
"""


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="annotations are evaluated when they are read from Python 3.14 on"
)
def test_annotations_that_have_no_value_hold_no_function_back():
    """They name what only tools need."""
    done = run("-c", UNREADABLE)

    assert done.stdout.splitlines() == ["[(4.0, 'Twice as much.'), (5.0, 'Twice as much.')]", "[3.0]"], done.stderr


NAMES_FOR_TYPES = """
import threading
from dataclasses import dataclass, field
from typing import NewType, ParamSpec, TypeVarTuple
from amorsize_async import execute_async, HookManager
import asyncio

UserId = NewType("UserId", int)
P, Ts = ParamSpec("P"), TypeVarTuple("Ts")
lock = threading.Lock()
big = bytes(10_000_000)

@dataclass
class User:
    key: UserId
    friends: "list[User]" = field(default_factory=list)

def befriended(user: User) -> User:
    return User(UserId(user.key + 1), [user])

def kept(user, names=(P, Ts)) -> UserId:
    return [name.__name__ for name in names]

async def main():
    users, report = await execute_async(befriended, [User(UserId(1)), User(UserId(2))], return_report=True)
    print(users, type(users[0]) is User, report.bytes_in < 10_000)
    print(await execute_async(kept, users[:1]))

asyncio.run(main())
"""


def test_names_for_type_checkers_travel():
    """They are no classes, and live in the main module, which a worker does not import."""
    done = run("-c", NAMES_FOR_TYPES)

    assert done.stdout.splitlines() == [
        "[User(key=2, friends=[User(key=1, friends=[])]), User(key=3, friends=[User(key=2, friends=[])])] True True",
        "[['P', 'Ts']]",
    ], done.stderr


@pytest.mark.skipif(sys.version_info < (3, 14), reason="a class may name itself without quotes from Python 3.14 on")
def test_a_class_that_names_itself_takes_no_globals_along():
    """What it names is only a name for tools; the globals may be large, and some cannot be sent."""
    done = run("-c", NAMES_FOR_TYPES.replace('"list[User]"', "list[User]"))

    assert done.stdout.splitlines()[0].endswith(" True True"), done.stderr


STATEMENTS = """
type Json = dict[str, Json] | list[Json] | int
type Pair[T] = tuple[T, T]
type Unknown = ForToolsOnly
from amorsize_async import execute

class Box[T, **P]:
    def __init__(self, held: T) -> None:
        self.held = held

def boxed[*Ts](item: Json, pair: Pair[int] = (1, 2), unknown: Unknown = None) -> Box[Json, ...]:
    return Box(item)

print([box.held for box in execute(boxed, [{"a": 1}, 2])], execute(lambda box: str(Pair), [Box(1)]))
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type statements came with Python 3.12")
def test_type_statements_and_parameters_in_brackets_travel():
    """An alias may name itself."""
    done = run("-c", STATEMENTS)

    assert done.stdout == "[{'a': 1}, 2] ['Pair']\n", done.stderr


def test_a_program_on_standard_input_works():
    """As a REPL would send it."""
    done = run("-", stdin=SCRIPT)

    assert (done.stdout, done.stderr, done.returncode) == ("[2, 3]\n", "", 0)


def test_a_module_run_with_dash_m_works(tmp_path):
    """In a package, too."""
    package = tmp_path / "app"
    package.mkdir()
    (package / "__main__.py").write_text(SCRIPT)
    done = run("-m", "app", cwd=tmp_path)

    assert (done.stdout, done.stderr, done.returncode) == ("[2, 3]\n", "", 0)


def test_a_main_module_that_has_lost_its_names_works_and_stays_as_it_was(tmp_path):
    """`%reset` in a notebook deletes all of them, `__spec__` too."""
    path = tmp_path / "script.py"
    path.write_text(
        "import builtins\nfor name in [name for name in globals() if name not in ('builtins', '__name__')]: "
        "del globals()[name]\n"
        "from amorsize_async import execute\n"
        "print(execute(lambda x: x * 2, [1, 2]), '__spec__' in globals())\n"
    )
    done = run(path)

    assert (done.stdout, done.stderr, done.returncode) == ("[2, 4] False\n", "", 0)


def test_importing_the_package_is_quick():
    """Under 120 ms for everything it exports, beyond a bare interpreter; the median of five."""
    code = "import time; began = time.perf_counter(); from amorsize_async import *; print(time.perf_counter() - began)"
    times = sorted(float(run("-c", code).stdout) for _ in range(5))

    # Four times the promise: a loaded machine is slower, a heavy import would be slower still.
    assert times[2] < 0.48


def test_importing_the_package_alone_imports_nothing_else():
    """Names come on first use, so that a worker pays for none of them."""
    code = "import amorsize_async, sys; print([m for m in ('anyio', 'asyncio', 'uvloop') if m in sys.modules])"

    assert run("-c", code).stdout == "[]\n"


def test_an_executor_left_open_does_not_hold_the_exit():
    """Exit code kept, nothing printed."""
    code = """
import asyncio
from amorsize_async import AsyncExecutor
async def main():
    executor = AsyncExecutor(2)
    await executor.start()
    print(await executor.execute(str, [1]))
asyncio.run(main())
raise SystemExit(3)
"""
    began = time.monotonic()
    done = run("-c", code)

    assert (done.stdout, done.stderr, done.returncode) == ("['1']\n", "", 3)
    assert time.monotonic() - began < 10


BUSY = """
import asyncio, sys, time
from amorsize_async import execute_async, HookManager, HookEvent
hooks = HookManager()
@hooks.on(HookEvent.ON_WORKER_START, mode="inline")
def started(ctx):
    print(ctx.worker_id, flush=True)
def nap(seconds):
    time.sleep(seconds)
asyncio.run(execute_async(nap, [3600.0] * 4, n_jobs=2, hooks=hooks))
"""


def start_busy(tmp_path):
    """A program with two workers that nap, in a session of its own; its stderr goes to a file."""
    log = tmp_path / "stderr"
    with log.open("w") as stderr:
        program = subprocess.Popen(
            [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True
        )
    workers = [psutil.Process(int(program.stdout.readline())) for _ in range(2)]
    return program, workers, log


def runs(process):
    """Whether a process runs; an orphan that nobody reaps stays as a zombie where PID 1 is no real init."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ended(program, workers, within):
    """Whether the workers are gone in time; the program is reaped, and what is left is killed."""
    deadline = time.monotonic() + within
    while (alive := [worker for worker in workers if runs(worker)]) and time.monotonic() < deadline:
        time.sleep(0.01)  # nobody tells when an orphan dies
    for process in alive:
        process.kill()
    program.stdout.close()
    program.wait(10)
    return not alive


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_the_program_and_its_workers_quietly(tmp_path):
    """One traceback, no line from a worker, within seconds."""
    program, workers, log = start_busy(tmp_path)
    began = time.monotonic()
    os.killpg(program.pid, signal.SIGINT)
    program.wait(20)
    elapsed = time.monotonic() - began

    assert ended(program, workers, within=2.0)
    assert elapsed < 5.0
    # asyncio.run raises KeyboardInterrupt in place of the CancelledError: the two tracebacks are one chain.
    assert log.read_text().count("Traceback") == log.read_text().count("During handling") + 1
    assert log.read_text().endswith("KeyboardInterrupt\n")


UNSEEN = """
import asyncio, signal, threading, time
from amorsize_async import AsyncExecutor, HookEvent, HookManager, execute_async, stream_async

begun = threading.Event()
hooks = HookManager()
hooks.register(HookEvent.ON_WORKER_START, lambda ctx: begun.set(), mode="inline")

def press():
    begun.wait()
    time.sleep(0.5)  # by then the loop waits, for the workers alone
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    threading.Event().wait()

async def a_list():
    await execute_async(time.sleep, [60] * 2, n_jobs=2, hooks=hooks)

async def a_stream():
    async with stream_async(time.sleep, [60] * 2, n_jobs=2, hooks=hooks) as results:
        async for _ in results:
            pass

async def a_job():
    async with AsyncExecutor(2) as executor:
        await executor.start(time.sleep, [60] * 2, hooks=hooks)

async def a_start():
    begun.set()
    async with AsyncExecutor(1, initializer=time.sleep, initargs=(60,)):
        pass

threading.Thread(target=press, daemon=True).start()
asyncio.run({form}())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("form", ["a_list", "a_stream", "a_job", "a_start"])
def test_ctrl_c_is_seen_though_nothing_else_wakes_the_loop(form):
    """One that comes an instant before the loop waits is not: as here, where the system hands it to another thread."""
    began = time.monotonic()
    done = run("-c", UNSEEN.replace("{form}", form))

    assert done.returncode == -signal.SIGINT, done.stderr
    assert time.monotonic() - began < 20


LIMITED = """
import asyncio, signal, threading, time
from amorsize_async import AsyncExecutor, execute

class Limit(Exception):
    pass

class Late:
    __hash__ = None

    def __call__(self, *_):
        raise Limit

def plain():
    execute(time.sleep, [30, 30])

def in_a_loop():
    async def main():
        execute(time.sleep, [30, 30])
    asyncio.run(main())

def on_anothers_loop():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    executor = asyncio.run_coroutine_threadsafe(AsyncExecutor(2).start(), loop).result()
    try:
        execute(time.sleep, [30, 30], executor=executor)
    finally:
        while executor.statistics().busy:
            time.sleep(0.01)
        asyncio.run_coroutine_threadsafe(executor.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

if __name__ == "__main__":
    signal.signal(signal.SIGALRM, Late())
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        {form}()
    except Limit:
        print("stopped")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("form", ["plain", "in_a_loop", "on_anothers_loop"])
def test_what_a_signal_handler_raises_ends_a_call_without_a_loop(form):
    """The time limits of task queues come like that; the work is stopped, too."""
    began = time.monotonic()
    done = run("-c", LIMITED.replace("{form}", form))

    assert (done.stdout, done.returncode) == ("stopped\n", 0), done.stderr
    assert time.monotonic() - began < 20


CLOSED_LOOP = """
import asyncio, threading, time
from amorsize_async import AsyncExecutor, execute
from amorsize_async.errors import ExecutorClosedError

if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    executor = asyncio.run_coroutine_threadsafe(AsyncExecutor(1).start(), loop).result()

    def close():
        while not executor.statistics().busy:
            time.sleep(0.01)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    closing = threading.Thread(target=close)
    closing.start()
    try:
        execute(time.sleep, [2], executor=executor)
    except ExecutorClosedError as exc:
        print(exc)
    closing.join()
"""


def test_a_loop_that_is_closed_under_a_call_of_another_thread_ends_that():
    """Nobody would ever answer it."""
    done = run("-c", CLOSED_LOOP)

    assert done.stdout == "the executor's event loop was closed while this call ran\n"
    assert "exception calling callback" not in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is asked for on Linux only")
@pytest.mark.leaks_file  # multiprocessing's own folder for the fork server's socket: nobody is left to remove it
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_workers_die_with_their_parent(tmp_path, how):
    """Whatever kills it, however busy they are."""
    program, workers, _ = start_busy(tmp_path)
    os.kill(program.pid, how)

    assert ended(program, workers, within=1.0)


def test_hooks_named_in_the_environment_get_every_run(tmp_path):
    """Persistent hooks: looked up by name."""
    (tmp_path / "my_hooks.py").write_text(
        "from amorsize_async import HookManager, HookEvent\n"
        "def factory():\n"
        "    hooks = HookManager()\n"
        "    hooks.register(HookEvent.POST_EXECUTE, lambda ctx: print('saw', ctx.items_completed), mode='inline')\n"
        "    return hooks\n"
    )
    code = "from amorsize_async import execute; execute(str, [1, 2, 3])"
    done = run("-c", code, cwd=tmp_path, env={**os.environ, "AMORSIZE_HOOKS": "my_hooks:factory"})

    assert (done.stdout, done.stderr) == ("saw 3\n", "")


def test_the_lines_of_the_page_about_payloads_run(tmp_path):
    """Pasted as they stand into a file."""
    path = tmp_path / "pasted.py"
    path.write_text(blocks_of("docs/payloads.md")[0], encoding="utf-8")
    done = run(path)

    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.startswith("[400000, 1000000, 2000000]\n3.0 True\n")


def test_the_first_lines_of_the_readme_run(tmp_path):
    """Pasted as they stand into a file."""
    path = tmp_path / "pasted.py"
    path.write_text(blocks_of("README.md")[0], encoding="utf-8")
    done = run(path)

    assert (done.stderr, done.returncode) == ("", 0)
    assert "collatz: 49,999 items, 0 failed" in done.stdout
