"""Tests of signals to stop: exit code 75 with the work saved, repeated signals, SIGHUP under nohup, forked workers."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lightning_coordconv.coordinates import CoordinateClassification
from lightning_coordconv.runtime.signals import REQUEUE, StopSignals
from tests.core.test_checkpoints import environment
from tests.forks import Fork
from tests.runtime.runs import SMALL


class Steps(CoordinateClassification):
    """Says when it trains, and takes half a second for each step."""

    def training_step(self, *arguments: object) -> object:
        print("started", flush=True)
        time.sleep(0.5)
        return super().training_step(*arguments)


class Slow(CoordinateClassification):
    """Says what it does, and takes a minute for it."""

    def __init__(self, slow: str, **arguments: object) -> None:
        self.slow = slow
        super().__init__(**arguments)

    def _wait(self, stage: str) -> None:
        if self.slow == stage:
            print("started", flush=True)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                time.sleep(0.01)

    def setup(self, stage: str) -> None:
        self._wait("start-up")

    def validation_step(self, *arguments: object) -> object:
        self._wait("sanity check" if self.trainer.sanity_checking else "validation")
        return super().validation_step(*arguments)

    def test_step(self, *arguments: object) -> object:
        self._wait("test")
        return super().test_step(*arguments)

    def predict_step(self, *arguments: object) -> object:
        self._wait("prediction")
        return super().predict_step(*arguments)


@contextmanager
def started(arguments: list[str], folder: Path) -> Iterator[Fork]:
    """Run Python in a process group until it prints that it started; what it reports is in the file ``errors``."""
    output = folder / "output"
    process = Fork(arguments, folder, environment(), output, folder / "errors")
    try:
        while process.poll() is None and "started" not in output.read_text():
            time.sleep(0.01)
        yield process
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "slow"),
    [("fit", "start-up"), ("fit", "sanity check"), ("fit", "test"), ("validate", "validation"), ("test", "test"),
     ("predict", "prediction")],
)  # fmt: skip
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP])
def test_the_exit_code_is_75_at_all_times(command, slow, number, tmp_path):
    arguments = [*SMALL, f"--model={__name__}.Slow", f"--model.slow={slow}"]
    arguments += ["--trainer.max_steps=1"] if command == "fit" else ["--ckpt_path=none"]
    with started(["-m", "lightning_coordconv", command, *arguments], tmp_path) as process:
        for _ in range(5):
            process.send_signal(number)
            time.sleep(0.02)
        assert process.wait(60) == REQUEUE, (tmp_path / "errors").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loading_processes_that_get_the_signal_too_do_not_end_the_run(method, tmp_path):
    """A scheduler sends a signal to all processes of a job."""
    arguments = [*SMALL, f"--model={__name__}.Steps", "--data.num_workers=1", "--trainer.max_steps=1000"]
    code = (
        "import multiprocessing, sys\n"
        "from lightning_coordconv.runtime.cli import main\n"
        "if __name__ == '__main__':\n"
        f"    multiprocessing.set_start_method({method!r})\n"
        "    main(sys.argv[1:])\n"
    )
    (tmp_path / "main.py").write_text(code)
    with started(["-m", "main", "fit", *arguments], tmp_path) as process:
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) == REQUEUE, (tmp_path / "errors").read_text()
    assert "preempted after step" in (tmp_path / "errors").read_text()
    assert list(tmp_path.rglob("last.ckpt"))


def run(code: str, folder: Path) -> int:
    return Fork(["-c", code], folder, environment(), folder / "output").wait(60)


@pytest.mark.slow
def test_a_repeated_signal_does_not_interrupt_the_work_that_is_saved(tmp_path):
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from lightning_coordconv.runtime.signals import stop_signals\n"
        "stop_signals.install()\n"
        "stop_signals.deferred = True\n"
        "for number in 2 * (signal.SIGTERM, signal.SIGUSR1): os.kill(os.getpid(), number)\n"
        "Path('saved').touch()\n"
        "try: raise SystemExit(75)\n"
        "finally:\n"
        "    stop_signals.uninstall()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    assert run(code, tmp_path) == REQUEUE
    assert (tmp_path / "saved").exists()


def test_a_process_that_nohup_started_ignores_sighup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals = StopSignals()
    try:
        signals.install()
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received is None
        signals.uninstall()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked_workers_obey_sigterm_and_ignore_sigusr1(tmp_path):
    code = (
        "import os, signal, time\n"
        "from lightning_coordconv.runtime.signals import stop_signals\n"
        "stop_signals.install()\n"
        "child = os.fork()\n"
        "if not child: time.sleep(60)\n"
        "os.kill(child, signal.SIGUSR1)\n"
        "time.sleep(0.3)\n"
        "assert os.waitpid(child, os.WNOHANG) == (0, 0)\n"
        "os.kill(child, signal.SIGTERM)\n"
        "assert os.waitpid(child, 0)[1] == signal.SIGTERM\n"
    )
    assert run(code, tmp_path) == 0
