"""Where a program may live: REPL, notebook, zip file, fork, daemon, thread, sandbox; each is a process of its own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
import time
import zipapp
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sessions, signals and descriptors of POSIX")

WATCHDOG = 60.0
"""Seconds after which a program counts as hung, and is killed with all that it started."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code, what it wrote, and how long it took in seconds."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def clean(self):
        """What a program that has nothing to complain about leaves."""
        return (self.out, self.err, self.code)


def ran(folder, *command, stdin="", under=(), cwd=None, **environ):
    """Run a Python program in a session of its own until it ends; `under`: a command that runs it in turn.

    What it writes goes to files, since an orphan would hold a pipe open.
    """
    began = time.monotonic()
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        program = subprocess.Popen(
            [*under, sys.executable, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            cwd=cwd or folder,
            env={**os.environ, "AMORSIZE_N_JOBS": "2", **environ},
            start_new_session=True,
        )
        watched(program, stdin)
    texts = [(folder / name).read_text(errors="replace") for name in ("out", "err")]
    return Ended(program.returncode, *texts, time.monotonic() - began)


def watched(program, stdin):
    """Wait for a program, and end its whole session when it hangs."""
    try:
        program.communicate(stdin.encode(), timeout=WATCHDOG)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        program.communicate()
        pytest.fail(f"the program hung for {WATCHDOG} s")


def script(folder, code, *flags, **options):
    """Run a script from a file."""
    path = folder / "app.py"
    path.write_text(textwrap.dedent(code))
    return ran(folder, *flags, path, **options)


PLAIN = """
import asyncio
from amorsize_async import execute_async

def more(x):
    return x + 1

print(asyncio.run(execute_async(more, [1, 2, 3])))
"""
ANSWER = ("[2, 3, 4]\n", "", 0)
FORKING = ("-W", "ignore::DeprecationWarning")
"""Flags of programs that fork on purpose: from Python 3.12 on, a fork beside threads warns."""


# ── interactive ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_functions_typed_at_a_prompt_work(tmp_path):
    """Functions, lambdas and classes of a session that has no file; an error leaves the session usable (G3)."""
    session = (
        "from amorsize_async import execute\n"
        "def twice(x):\n    return 2 * x\n\n"
        "execute(twice, [1, 2])\n"
        "execute(lambda x: twice(x) + 1, [1, 2])\n"
        "class Point:\n    def __init__(self, x): self.x = x\n\n"
        "[type(point) is Point for point in execute(Point, [1])]\n"
        "execute(twice, [None])\n"
        "execute(twice, [3])\n"
    )
    done = ran(tmp_path, "-i", "-q", stdin=session)

    assert (done.out, done.code) == ("[2, 4]\n[3, 5]\n[True]\n[6]\n", 0)
    assert done.err.count("TypeError: unsupported operand") == 2  # the worker's, and the caller's


def test_the_asyncio_prompt_works(tmp_path):
    """Await at the prompt, and the blocking form beside the running loop."""
    session = (
        "from amorsize_async import execute, execute_async\n"
        "await execute_async(lambda x: 2 * x, [1, 2])\n"
        "execute(lambda x: 3 * x, [1, 2])\n"
    )
    done = ran(tmp_path, "-m", "asyncio", stdin=session)

    assert "[2, 4]" in done.out
    assert "[3, 6]" in done.out
    assert "Error" not in done.err


CELLS = r"""
import ast, asyncio, sys

CELLS = [
    "from amorsize_async import execute, execute_async, stream_async\nimport math",
    "def half(x): return math.floor(x / 2)",
    "print(await execute_async(half, [4, 7]))",
    "print(await execute_async(lambda x: half(x) + 1, [4]))",
    "def half(x): return x / 2",
    "print(await execute_async(half, [5]), execute(half, [7]))",
    "class Point:\n    def __init__(self, x): self.x = x",
    "print([type(point) is Point for point in await execute_async(Point, [1])])",
    "async with stream_async(half, range(3)) as results:\n    print([value async for value in results])",
]

async def main():
    for number, cell in enumerate(CELLS):
        code = compile(cell, f"<cell {number}>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, sys.modules["__main__"].__dict__)
        if result is not None:
            await result

asyncio.run(main())
"""


def test_cells_of_a_notebook_work(tmp_path):
    """Top-level await and the blocking form in one running loop; a function defined again is the new one (G3)."""
    done = script(tmp_path, CELLS)

    assert done.clean == ("[2, 3]\n[3]\n[2.5] [3.5]\n[True]\n[0.0, 0.5, 1.0]\n", "", 0)


# ── how it was started ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_zip_application_works(tmp_path):
    """`python -m zipapp`: its main module has no file of its own (G12)."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").write_text(PLAIN)
    zipapp.create_archive(tmp_path / "app", tmp_path / "app.pyz")

    assert ran(tmp_path, "app.pyz").clean == ANSWER


def test_a_console_script_works(tmp_path):
    """A file without a suffix that imports a module's `main` (G4)."""
    (tmp_path / "tool.py").write_text(PLAIN.replace("print(", "def main():\n    print("))
    (tmp_path / "tool").write_text("import sys\nfrom tool import main\nsys.exit(main())\n")

    assert ran(tmp_path, "tool").clean == ANSWER


def test_a_script_may_be_deleted_while_it_runs(tmp_path):
    """Its source is not needed, not even for a traceback (G4)."""
    assert script(tmp_path, "import os\nos.unlink(__file__)\n" + PLAIN).clean == ANSWER


@pytest.mark.parametrize("flag", ["-O", "-OO", "-I", "-E", "-P", "-B"])
def test_flags_of_the_interpreter_are_obeyed(tmp_path, flag):
    """Optimised, isolated, without environment, without the script's folder, without bytecode."""
    assert script(tmp_path, PLAIN, flag).clean == ANSWER


def test_development_mode_has_nothing_to_say(tmp_path):
    """Every warning is an error, and asyncio's debug mode is on: streams, hooks, cancellation, closing (E19)."""
    code = """
    import asyncio, gc
    from amorsize_async import AsyncExecutor, HookEvent, HookManager

    async def waits(ctx):
        await asyncio.sleep(0)

    async def main():
        hooks = HookManager()
        hooks.register(HookEvent.ON_CHUNK_COMPLETE, waits)
        hooks.register(HookEvent.ON_PROGRESS, lambda ctx: None)
        async with AsyncExecutor(2, hooks=hooks) as executor:
            async with executor.stream(abs, range(1000)) as results:
                async for value in results:
                    if value == 100:
                        break
            call = asyncio.ensure_future(executor.execute(abs, range(10**6)))
            while not executor.statistics().chunks:
                await asyncio.sleep(0.001)
            call.cancel()
            await asyncio.wait([call])
            print(await executor.submit(abs, -1))

    asyncio.run(main())
    gc.collect()
    """
    done = script(tmp_path, code, "-X", "dev", "-W", "error", PYTHONASYNCIODEBUG="1")

    # On a loaded machine the debug mode tells of slow callbacks; those are not ours to promise here.
    complaints = [line for line in done.err.splitlines() if not line.startswith("Executing <")]
    assert (done.out, complaints, done.code) == ("1\n", [], 0)


def test_workers_see_arguments_folder_and_path(tmp_path):
    """`sys.argv`, the working directory, `sys.path` and the environment are those of the program (G5)."""
    code = """
    import os, sys
    sys.argv = ["name", "--option"]
    sys.path.append("/somewhere")
    os.environ["MARK"] = "set"
    from amorsize_async import execute

    def look(_):
        return sys.argv, os.getcwd(), "/somewhere" in sys.path, os.environ["MARK"]

    print(execute(look, [0]) == [look(0)])
    """
    assert script(tmp_path, code).clean == ("True\n", "", 0)


def test_workers_started_later_see_the_environment_of_then(tmp_path):
    """Set, changed and removed variables reach new workers, though the fork server is older (G6)."""
    code = """
    import os
    from amorsize_async import execute
    os.environ |= {"CHANGED": "old", "REMOVED": "still there"}
    execute(abs, [1])
    os.environ |= {"CHANGED": "new", "ADDED": "new"}
    del os.environ["REMOVED"]
    print(execute(lambda name: os.environ.get(name), ["CHANGED", "ADDED", "REMOVED"]))
    """
    assert script(tmp_path, code).clean == ("['new', 'new', None]\n", "", 0)


# ── loops and threads ────────────────────────────────────────────────────────────────────────────────────────────────


def test_loops_may_follow_each_other(tmp_path):
    """`asyncio.run` again and again in one process (E17)."""
    code = PLAIN + "print(asyncio.run(execute_async(more, [1, 2, 3])))\n"

    assert script(tmp_path, code).clean == (2 * ANSWER[0], "", 0)


def test_an_executor_at_module_level_serves_one_loop_and_says_so(tmp_path):
    """It starts nothing on import; on a second loop its error tells what to do (F5, E17)."""
    code = """
    import asyncio
    from amorsize_async import AsyncExecutor
    executor = AsyncExecutor(2)

    async def main():
        async with executor:
            return await executor.execute(abs, [-1])

    print(asyncio.run(main()))
    try:
        asyncio.run(main())
    except RuntimeError as exc:
        print(type(exc).__name__, "make one for this loop" in str(exc))
    """
    assert script(tmp_path, code).clean == ("[1]\nExecutorClosedError True\n", "", 0)


def test_many_threads_with_many_loops_get_right_answers(tmp_path):
    """Eight threads, two loops each, two calls at a time (G9)."""
    code = """
    import asyncio, threading
    from amorsize_async import execute_async
    wrong = []

    async def calls(k):
        for n in range(12):
            pair = await asyncio.gather(execute_async(abs, range(n)), execute_async(abs, range(k), n_jobs=1))
            wrong.extend([] if pair == [list(range(n)), list(range(k))] else [pair])

    def work(k):
        for _ in range(2):
            asyncio.run(calls(k))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(wrong)
    """
    assert script(tmp_path, code).clean == ("[]\n", "", 0)


def test_calls_may_nest_without_a_deadlock(tmp_path):
    """Three deep, with one worker each and with two (G8)."""
    code = """
    from amorsize_async import execute

    def nest(depth_and_jobs):
        depth, jobs = depth_and_jobs
        return 1 if depth == 0 else sum(execute(nest, [(depth - 1, jobs)] * jobs, n_jobs=jobs))

    print(execute(nest, [(3, 1)], n_jobs=1), execute(nest, [(2, 2)] * 2, n_jobs=2))
    """
    assert script(tmp_path, code).clean == ("[1] [4, 4]\n", "", 0)


def test_more_workers_than_cores_are_allowed(tmp_path):
    """Forty-eight of them start in time (I16)."""
    code = "from amorsize_async import execute\nprint(execute(abs, range(96), n_jobs=48, chunksize=1) == [*range(96)])"

    assert script(tmp_path, code).clean == ("True\n", "", 0)


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────

STREAMING = """
import asyncio, os, sys, time
from amorsize_async import stream_async

def nap(x):
    time.sleep(0.01 if x < 8 else 3600)
    return x

async def main():
    {opening}
        async for value in results:
            if value == 5:
                {end}

asyncio.run(main())
"""
BARE = "results = stream_async(nap, range(100))\n    if True:"
MANAGED = "async with stream_async(nap, range(100)) as results:"


@pytest.mark.parametrize("opening", [BARE, MANAGED], ids=["bare", "async with"])
@pytest.mark.parametrize(("end", "code"), [("sys.exit(4)", 4), ("return", 0)], ids=["sys.exit", "return"])
def test_a_program_may_end_in_mid_stream(tmp_path, opening, end, code):
    """While workers run: its exit code is kept, and nothing is said (F9, F10)."""
    done = script(tmp_path, STREAMING.format(opening=opening, end=end))

    assert done.clean == ("", "", code)
    assert done.seconds < 10


@pytest.mark.leaks_file  # multiprocessing's own folder for the fork server's socket: nobody is left to remove it
def test_a_program_may_drop_dead_in_mid_stream(tmp_path):
    """`os._exit`: its busy workers end with it, as the leak check sees (F10)."""
    done = script(tmp_path, STREAMING.format(opening=MANAGED, end="os._exit(7)"))

    assert done.code == 7
    assert "Traceback" not in done.err


def test_an_executor_may_be_forgotten_by_a_program_that_fails(tmp_path):
    """One traceback, the program's own, and its exit code (F9)."""
    code = """
    import asyncio
    from amorsize_async import AsyncExecutor

    async def main():
        executor = await AsyncExecutor(2).start()
        task = asyncio.create_task(executor.execute(__import__("time").sleep, [3600] * 4))
        while not executor.statistics().chunks:
            await asyncio.sleep(0.001)
        raise LookupError("the program's own")

    asyncio.run(main())
    """
    done = script(tmp_path, code)

    assert (done.out, done.code, done.err.count("Traceback")) == ("", 1, 1)
    assert done.err.endswith("LookupError: the program's own\n")
    assert done.seconds < 10


# ── other processes of the program ───────────────────────────────────────────────────────────────────────────────────

FORKED = """
import asyncio, os, sys
from amorsize_async import AsyncExecutor

def more(x):
    return x + 1

async def alone():
    async with AsyncExecutor(2, start_method="{method}") as executor:
        print("child", await executor.execute(more, [10]), flush=True)

async def main():
    async with AsyncExecutor(2, start_method="{method}") as executor:
        print("parent", await executor.execute(more, [1]), flush=True)
        child = os.fork()
        if not child:
            asyncio._set_running_loop(None)
            try:
                asyncio.run(alone())
            finally:
                os._exit(sys.exc_info()[0] is not None)
        print("child ended", (await asyncio.to_thread(os.waitpid, child, 0))[1], flush=True)
        print("parent", await executor.execute(more, [2]), flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_fork_of_the_program_starts_afresh(tmp_path, method):
    """With a loop and workers of its own, while the parent's go on (F6)."""
    done = script(tmp_path, FORKED.format(method=method), *FORKING)

    assert done.clean == ("parent [2]\nchild [11]\nchild ended 0\nparent [3]\n", "", 0)


PRELOADED = """
import asyncio, os, sys
from amorsize_async import execute_async, execute

{before}
children = []
for n in range(2):
    if not (child := os.fork()):
        sys.exit(3 if asyncio.run(execute_async(abs, [-n, -1])) == [n, 1] else 4)
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


@pytest.mark.parametrize("before", ["", "execute(abs, [1])"], ids=["new", "used"])
def test_a_server_may_load_the_program_and_fork(tmp_path, before):
    """As gunicorn does with `preload_app`, whether or not the master has used the library (F6)."""
    assert script(tmp_path, PRELOADED.format(before=before), *FORKING).clean == ("[3, 3]\n", "", 0)


def test_a_fork_beside_live_workers_may_exit(tmp_path):
    """It leaves them to the parent, who goes on with them (F6)."""
    code = """
    import asyncio, os, signal, sys
    from amorsize_async import AsyncExecutor
    loop = asyncio.new_event_loop()
    executor = loop.run_until_complete(AsyncExecutor(1).start())
    if not (child := os.fork()):
        signal.alarm(5)
        sys.exit(5)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(loop.run_until_complete(executor.execute(abs, [-1])))
    loop.run_until_complete(executor.aclose())
    """
    assert script(tmp_path, code, *FORKING).clean == ("5\n[1]\n", "", 0)


PROCESSES = """
import multiprocessing
from amorsize_async import execute

def more(x):
    return x + 1

def child(answers):
    try:
        answers.put(execute(more, [1, 2, 3]))
    except Exception as exc:
        answers.put(f"{{type(exc).__name__}}: {{exc}}")

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    answers = context.Queue()
    process = context.Process(target=child, args=(answers,), daemon={daemon})
    process.start()
    print(answers.get())
    process.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_of_the_program_may_use_the_library(tmp_path, method):
    """With functions of the script, which are those of `__mp_main__` there."""
    assert script(tmp_path, PROCESSES.format(method=method, daemon=False), *FORKING).clean == ANSWER


def test_a_daemonic_process_is_told_what_to_do(tmp_path):
    """It may have no children: the error names threads as the way out (F13)."""
    done = script(tmp_path, PROCESSES.format(method="fork", daemon=True))

    assert done.out.startswith("WorkerStartError: ")
    assert 'executor="thread"' in done.out


TERMINATED = """
import asyncio, os, signal
from amorsize_async import AsyncExecutor

def nap(_):
    __import__("time").sleep(3600)

async def main():
    heard = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, heard.append, "the parent's handler")
    async with AsyncExecutor(1, start_method="{method}", max_item_deaths=1) as executor:
        call = asyncio.ensure_future(executor.execute(nap, [0]))
        while not executor.statistics().chunks:
            await asyncio.sleep(0.001)
        while not call.done():
            for worker in executor.statistics().workers:
                os.kill(worker, signal.SIGTERM)
            await asyncio.sleep(0.05)
        print(heard, type(call.exception()).__name__, call.exception().exitcode)

{run}
"""
RUNS = {
    "asyncio": "asyncio.run(main())",
    "uvloop": "import uvloop\nwith asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner: runner.run(main())",
}


@pytest.mark.parametrize("loop", RUNS)
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_a_signal_to_a_worker_never_reaches_the_servers_handler(tmp_path, method, loop):
    """SIGTERM ends the worker although a handler for it was there when it was forked (F7)."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    done = script(tmp_path, TERMINATED.format(method=method, run=RUNS[loop]), *FORKING)

    assert done.clean == ("[] WorkerCrashedError -15\n", "", 0)


def test_a_program_that_ignores_its_children_gets_answers(tmp_path):
    """With SIGCHLD ignored the kernel reaps them: a death is still seen, its code may be unknown (A20)."""
    code = """
    import asyncio, os, signal
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    from amorsize_async import AsyncExecutor

    async def main():
        for method in ("forkserver", "spawn"):
            async with AsyncExecutor(2, start_method=method, max_item_deaths=1) as executor:
                results = await executor.execute(lambda x: x or os._exit(3), [1, 0, 2], return_exceptions=True)
                print(results[::2], type(results[1]).__name__)

    asyncio.run(main())
    """
    assert script(tmp_path, code).clean == (2 * "[1, 2] WorkerCrashedError\n", "", 0)


# ── descriptors and folders ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_flood_of_output_does_not_block(tmp_path):
    """A MiB for each item on both streams passes through; the protocol uses neither (I11)."""
    code = """
    import sys
    from amorsize_async import execute

    def flood(x):
        sys.stdout.write("o" * 2**20), sys.stderr.write("e" * 2**20)
        return x

    sys.exit(0 if execute(flood, range(8)) == [*range(8)] else 1)
    """
    done = script(tmp_path, code)

    assert (done.code, len(done.out), len(done.err)) == (0, 8 << 20, 8 << 20)
    assert set(done.out + done.err) == {"o", "e"}


def test_workers_leave_the_standard_input_to_the_program(tmp_path):
    """They read the end of an empty file from it (I12)."""
    code = """
    import sys
    from amorsize_async import execute
    print(execute(lambda _: sys.stdin.read(), [0, 1]), sys.stdin.read())
    """
    assert script(tmp_path, code, stdin="for the program").clean == ("['', ''] for the program\n", "", 0)


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"], ids=["stdin", "stderr", "all"])
def test_a_program_may_have_no_standard_streams(tmp_path, closed):
    """As a daemon is started (I11, I12)."""
    code = PLAIN.replace("print(", "open('answer', 'w').write(repr(").replace("]))", "])))")
    done = script(tmp_path, code, under=("sh", "-c", f'exec "$@" {closed}', "sh"))

    assert (done.code, (tmp_path / "answer").read_text()) == (0, "[2, 3, 4]")


def test_the_blocking_form_may_have_no_standard_streams(tmp_path):
    """It takes asyncio's loop where libuv would abort."""
    code = "from amorsize_async import execute\nopen('answer', 'w').write(repr(execute(abs, [-1])))"
    pytest.importorskip("uvloop")
    done = script(tmp_path, code, under=("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"))

    assert (done.code, (tmp_path / "answer").exists()) == (0, True)


def test_a_program_whose_folder_is_gone_works_or_says_why(tmp_path):
    """The working directory was deleted under it (I15)."""
    code = """
    import asyncio, os, tempfile
    from amorsize_async import AmorsizeError, execute
    os.chdir(gone := tempfile.mkdtemp())
    os.rmdir(gone)
    try:
        print(execute(abs, [-1]))
    except AmorsizeError as exc:
        print([1] if "working directory" in str(exc) else exc)
    """
    assert script(tmp_path, code).clean == ("[1]\n", "", 0)


@pytest.mark.parametrize("folder", ["/nonexistent", "/proc"], ids=["missing", "unwritable"])
def test_a_useless_folder_for_temporary_files_does_no_harm(tmp_path, folder):
    """Python takes another (I15)."""
    assert script(tmp_path, PLAIN, TMPDIR=folder).clean == ANSWER


# ── what the system refuses ──────────────────────────────────────────────────────────────────────────────────────────

REFUSED = """
import asyncio
from amorsize_async import AmorsizeError, execute_async

async def main():
    for _ in range(2):
        try:
            print(await execute_async(abs, [-1, -2]))
        except AmorsizeError as exc:
            print(type(exc).__name__, type(exc.__cause__).__name__, exc.__cause__.errno, {told} in str(exc))

asyncio.run(main())
"""
MOUNTS = {
    "full": ("mount -t tmpfs -o size=4k tmpfs /dev/shm", "OSError 28"),
    "read-only": ("mount -t tmpfs -o ro tmpfs /dev/shm", "OSError 30"),
}


def mounting(command):
    """Give a command that runs another one where `command` has changed the mounts; skips where that is forbidden."""
    under = ("unshare", "-m", "sh", "-c", f'{command} && exec "$@"', "sh")
    try:
        allowed = subprocess.run([*under, "true"], capture_output=True, check=False, timeout=10).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("private mounts need root, and a system that has them")
    return under


@pytest.mark.parametrize("state", MOUNTS)
def test_a_sandbox_without_shared_memory_gets_one_error(tmp_path, state):
    """Each call fails at once, with the system's own error as the cause, and leaves nothing (G13, I3)."""
    mount, cause = MOUNTS[state]
    done = script(tmp_path, REFUSED.format(told="''"), under=mounting(mount))

    assert done.clean == (2 * f"WorkerStartError {cause} True\n", "", 0)
    assert done.seconds < 20


@pytest.mark.parametrize("state", MOUNTS)
def test_the_error_of_such_a_sandbox_names_the_way_out(tmp_path, state):
    """What to enlarge, and that threads do without it (G13, I3)."""
    done = script(tmp_path, REFUSED.format(told="""'executor="thread"'"""), under=mounting(MOUNTS[state][0]))

    assert done.out.count("True") == 2


DESCRIPTORS = """
import asyncio, os, resource
from amorsize_async import AmorsizeError, execute_async

async def main():
    await execute_async(abs, [-1], executor={warm})
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 3, hard))
    try:
        print(await execute_async(abs, [-1, -2, -3], n_jobs=8, chunksize=1))
    except AmorsizeError as exc:
        print(type(exc).__name__, exc.__cause__.errno)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    print(await execute_async(abs, [-4], n_jobs=8))

asyncio.run(main())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="open descriptors are counted in /proc")
@pytest.mark.parametrize(
    ("warm", "answer"), [("None", "[1, 2, 3]"), ("'thread'", "WorkerStartError 24")], ids=["one worker", "no worker"]
)
def test_a_program_out_of_descriptors_makes_do_and_recovers(tmp_path, warm, answer):
    """With the workers it has, or one clear error; the next call works when there is room again (I1)."""
    done = script(tmp_path, DESCRIPTORS.format(warm=warm))

    assert done.clean == (f"{answer}\n[4]\n", "", 0)


GREEDY = """
import asyncio
from amorsize_async import AsyncExecutor

def eat(mebibytes):
    return len(bytes(mebibytes << 20).replace(b"\\0", b"x", 10**9)) >> 20

async def main():
    async with AsyncExecutor(2) as executor:
        results = await executor.execute(eat, [1, 2, 400, 3, 4], return_exceptions=True)
        print(*[result if isinstance(result, int) else f"({result.index}: {result})" for result in results])

asyncio.run(main())
"""


@pytest.fixture
def memory_group():
    """A cgroup of version 1 with 150 MiB of memory; skips where we may not make one."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        own = next((line.split(":")[2] for line in lines if ":memory:" in line), "/")
        group = Path("/sys/fs/cgroup/memory") / own.lstrip("/") / f"test-{os.getpid()}"
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(150 << 20))
    except OSError:
        pytest.skip("a memory limit needs root, and a writable cgroup of version 1")
    yield group
    # The script has ended, but not all that it started: its fork server sees that only then, and holds the group.
    while held := (group / "cgroup.procs").read_text().split():
        for pid in held:
            with suppress(ProcessLookupError):
                gone = os.pidfd_open(int(pid))
                select.select([gone], [], [], 10)
                os.close(gone)
    removed_within(group, 10)


def removed_within(group, seconds):
    """Remove a cgroup; the kernel refuses for a moment while the last of its tasks is being taken apart."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def test_an_item_that_eats_all_memory_is_told_so(tmp_path, memory_group):
    """The kernel kills its worker: the error says why, and names the item; the others are right (A5)."""
    done = script(tmp_path, GREEDY, under=("sh", "-c", f'echo $$ > {memory_group}/cgroup.procs && exec "$@"', "sh"))

    assert done.out.startswith("1 2 (2: a worker (pid ")
    assert "out of memory: the oom_kill counter of the cgroup with a limit of 150 MiB rose" in done.out
    assert done.out.endswith(" 3 4\n")
