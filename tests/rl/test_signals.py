"""Test that an agent with environments in processes saves its work on SIGTERM, exits with 75 and leaves no process."""

import os
import signal
import time
from pathlib import Path

import pytest
from pytorch_lightning import Callback

from lightning_coordconv.runtime.signals import REQUEUE
from tests.runtime.test_signals import started


class Updates(Callback):
    """Says when the agent learns."""

    def on_train_batch_end(self, *arguments: object) -> None:
        print("started", flush=True)


def members(group: int) -> list[str]:
    """Return the numbers of the processes of a group, from Linux's list of processes."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it has ended
            continue
        if int(of_group) == group and state != "Z":
            found.append(status.parent.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("to", [os.kill, os.killpg], ids=["learner", "group"])
def test_environment_processes_that_get_the_signal_too_do_not_end_the_run(to, tmp_path):
    """A scheduler sends a signal to all processes of a job."""
    options = [
        "--data.backend=subproc",
        "--data.n_envs=2",
        "--data.n_eval_envs=1",
        f"--trainer.callbacks+={__name__}.Updates",
    ]
    command = ["-m", "lightning_coordconv", "fit", "-c", "rl/find_and_touch_coordconv", *options]
    with started(command, tmp_path) as process:
        to(process.pid, signal.SIGTERM)
        assert process.wait(60) == REQUEUE, (tmp_path / "errors").read_text()
        deadline = time.monotonic() + 20
        while members(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert members(process.pid) == []
    errors = (tmp_path / "errors").read_text()
    assert "preempted after step" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.rglob("last.ckpt"))
