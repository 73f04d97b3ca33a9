"""Processes that run a module or code: forked from one that has imported the libraries, or new interpreters.

To import the libraries takes longer than most of what tests run in processes. New interpreters are for tests of how a
program starts and ends: a fork ends without the interpreter's own end.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["lightning_coordconv.runtime.cli", "lightning_coordconv.coordinates", "lightning_coordconv.classification",
     "lightning_coordconv.detection", "lightning_coordconv.generative", "lightning_coordconv.rl"]
)  # fmt: skip


class Fork:
    """A process in a new group that runs Python; with the methods of :class:`subprocess.Popen` that tests use.

    Args:
        arguments: ``["-m", module, *arguments]`` or ``["-c", code, *arguments]``, as for Python.
        cwd: its folder, from which it can import.
        env: its environment.
        stdout: the file for what it prints, which is emptied first.
        stderr: the file for what it reports; ``stdout`` by default.
    """

    def __init__(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], stdout: Path, stderr: Path | None = None
    ) -> None:
        stdout.write_text("")
        self.process = SERVER.Process(target=run, args=(arguments, cwd, dict(env), stdout, stderr or stdout))
        self.process.start()

    @property
    def pid(self) -> int:
        """Its number, which is that of its process group too."""
        return self.process.pid

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit code."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.process), timeout or 0)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it ended meanwhile, and its exit code is on the way
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Stop it at once, if it has not ended."""
        self.send_signal(signal.SIGKILL)


def interpreter(arguments: Sequence[str], cwd: Path, env: Mapping[str, str], stdout: Path) -> subprocess.Popen[bytes]:
    """Start a new interpreter, whose output goes to a file."""
    with stdout.open("wb") as file:
        return subprocess.Popen([sys.executable, *arguments], cwd=cwd, env=env, stdout=file, stderr=subprocess.STDOUT)


def run(arguments: Sequence[str], cwd: Path, env: Mapping[str, str], stdout: Path, stderr: Path) -> None:
    """Run a module or code in this process."""
    os.setpgrp()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for path, number in ((stdout, 1), (stderr, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    multiprocessing.set_start_method(None, force=True)  # as in a new interpreter
    option, program, *sys.argv[1:] = arguments
    sys.path[:0] = [str(cwd), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    if option == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
