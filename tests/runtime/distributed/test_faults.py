"""Tests that preemption, killed processes, full disks, damaged files and busy folders lose nothing that was saved."""

import json
import os
import re
import shutil
import signal
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_coordconv.core.checkpoints import DamagedCheckpointError, verify
from lightning_coordconv.runtime.checkpoints import DurableCheckpointIO
from lightning_coordconv.runtime.signals import REQUEUE
from tests.forks import interpreter
from tests.full_disk import full_disk
from tests.runtime.distributed import ranks

NAME = "coordinates/classification_quadrant_coordconv"
FIT = (
    "fit", "-c", str(ranks.ROOT / "configs" / f"{NAME}.yaml"), "--data.canvas=16", "--data.size=3",
    "--data.batch_size=24", "--model.net.init_args.canvas=16", "--trainer.logger.init_args.version=run",
    "--trainer.accelerator=cpu", "--trainer.max_steps=18", "--trainer.val_check_interval=null",
    "--trainer.check_val_every_n_epoch=1", "--trainer.enable_progress_bar=false", "--ckpt_path=last",
    f"--trainer.callbacks+={ranks.__name__}.Weights", "--trainer.callbacks.folder=weights",
)  # fmt: skip
ANEW = [argument for argument in FIT if argument != "--ckpt_path=last"]
TWO = ("--trainer.devices=2", "--trainer.strategy=ddp")
EACH_STEP = (
    "--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.every_n_train_steps=1",
    "--trainer.callbacks.filename=last", "--trainer.callbacks.enable_version_counter=false",
)  # fmt: skip


def signalled(number: int, step: int, rank: int = 0) -> tuple[str, ...]:
    prefix = "--trainer.callbacks"
    return (f"{prefix}+={ranks.__name__}.Signal", f"{prefix}.number={number}", f"{prefix}.step={step}",
            f"{prefix}.rank={rank}")  # fmt: skip


def fit(folder: Path, *arguments: str, world_size: int = 1, code: int = 0, **options: Any) -> str:
    """Fit in separate processes, see that all end with a code, and return what the first printed."""
    processes = ranks.Ranks(world_size, ["-m", "lightning_coordconv", *FIT, *arguments], folder, **options)
    processes.end_with(code)
    return processes.logs[0].read_text()


def result(folder: Path, rank: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, float], list[dict[str, float]]]:
    """Return the weights that a run ended with, what it was tested to be worth, and its curve but for the clocks."""
    weights = torch.load(folder / "weights" / f"rank{rank}.pt", weights_only=True)["weights"]
    summary = json.loads((folder / "logs" / NAME / "run" / "summary.json").read_text())
    curve = [{key: value for key, value in row.items() if "seconds" not in key} for row in summary["curve"]]
    return weights, summary["test"], curve


def assert_undisturbed(folder: Path, undisturbed: Path, rank: int = 0) -> None:
    (weights, test, curve), (expected, expected_test, expected_curve) = result(folder, rank), result(undisturbed, rank)
    for key, weight in expected.items():
        assert torch.equal(weights[key], weight), key
    assert test == expected_test
    assert curve == expected_curve


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nothing happened to: 7 steps an epoch, 18 in all."""
    folder = tmp_path_factory.mktemp("undisturbed")
    fit(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, 10), (signal.SIGUSR1, 7)], ids=["SIGTERM", "SIGUSR1"])
def test_preemption_leaves_a_checkpoint_and_asks_to_be_requeued(tmp_path, undisturbed, number, step):
    printed = fit(tmp_path, *signalled(number, step), code=REQUEUE)
    assert f"preempted after step {step}" in printed
    fit(tmp_path)
    assert_undisturbed(tmp_path, undisturbed)


@pytest.mark.slow
def test_preemption_under_slurm_is_ours(tmp_path, undisturbed):
    """Where SLURM started the program, Lightning would requeue the job itself, and write another checkpoint."""
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\necho $@ >> {tmp_path}/scontrol.log\n")
    scontrol.chmod(0o755)
    slurm = {"SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "coordconv",
             "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NUM_NODES": "1",
             "SLURM_NODELIST": "127.0.0.1", "PATH": f"{scontrol.parent}:{os.environ['PATH']}"}  # fmt: skip
    fit(tmp_path, *signalled(signal.SIGUSR1, 10), **slurm, code=REQUEUE)
    assert not (tmp_path / "scontrol.log").exists()
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    fit(tmp_path, **slurm)
    assert_undisturbed(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("dies", r"error: .*: loading processes \(data.num_workers\) die where memory runs out"),
        ("hangs", r"error: DataLoader timed out after 2.0 seconds: loading processes .* hang where a file system"),
    ],
)
def test_a_loading_process_that_dies_or_hangs_ends_the_run(tmp_path, undisturbed, fault, message):
    faulty = (f"--data={ranks.__name__}.FaultyData", f"--data.fault={fault}", "--data.num_workers=1",
              "--data.partition=quadrant", "--data.canvas=16", "--data.size=3", "--data.batch_size=24")  # fmt: skip
    printed = fit(tmp_path, *faulty, code=1)
    assert re.search(message, printed), printed
    fit(tmp_path)  # from the last checkpoint, that of the first epoch
    assert_undisturbed(tmp_path, undisturbed)


@pytest.fixture(scope="module")
def undisturbed_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of two ranks that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed_ranks")
    fit(folder, *TWO, world_size=2)
    return folder


@pytest.mark.slow
def test_ranks_leave_together_when_one_of_them_is_told_to(tmp_path, undisturbed_ranks):
    """The one that has no checkpoint to write, here; the others hear of it a step later."""
    printed = fit(tmp_path, *TWO, *signalled(signal.SIGTERM, 9, rank=1), world_size=2, code=REQUEUE)
    assert "preempted after step 10" in printed
    fit(tmp_path, *TWO, world_size=2)
    for rank in range(2):
        assert_undisturbed(tmp_path, undisturbed_ranks, rank)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
@pytest.mark.parametrize(("fate", "code"), [((), 0), (signalled(signal.SIGTERM, 9), REQUEUE)], ids=["end", "preempted"])
def test_no_thread_of_the_process_group_outlives_the_run(tmp_path, fate, code):
    """One that frees a tensor while the interpreter is torn down aborts the process."""
    threads = (f"--trainer.callbacks+={ranks.__name__}.Threads", "--trainer.callbacks.folder=threads")
    fit(tmp_path, *TWO, *threads, *fate, world_size=2, code=code, start=interpreter)
    for rank in range(2):
        names = (tmp_path / "threads" / f"threads{rank}").read_text().split()
        assert names
        assert "pt_gloo_runloop" not in names


@pytest.mark.slow
def test_a_rank_that_is_killed_is_started_again(tmp_path, undisturbed_ranks):
    """Torchrun restarts both ranks, which go on from the last step that was saved, within an epoch."""
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--max-restarts=3", "--module",
                "lightning_coordconv", *FIT, *TWO, *EACH_STEP, *signalled(signal.SIGKILL, 10, rank=1)]  # fmt: skip
    # torch 2.15's agents keep the addresses of the dead in the store that they share with their workers
    agent = ranks.Ranks(1, torchrun, tmp_path, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")
    assert agent.wait()[0] == 0, agent.logs[0].read_text()
    assert "failed (exitcode: -9)" in agent.logs[0].read_text()
    for rank in range(2):
        assert_undisturbed(tmp_path, undisturbed_ranks, rank)


@pytest.mark.slow
def test_a_run_killed_while_it_writes_a_checkpoint_leaves_the_one_before(tmp_path, undisturbed):
    """The process dies with the tenth checkpoint written, but not yet in its place."""
    dying = (
        "import os, signal, sys\n"
        "from lightning_coordconv.runtime.cli import main\n"
        "replace, saved = os.replace, []\n"
        "def die(source, target):\n"
        "    saved.append(target)\n"
        "    if len(saved) == 20: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(source, target)\n"
        "os.replace = die\n"
        "main(sys.argv[1:])\n"
    )
    process = ranks.Ranks(1, ["-c", dying, *FIT, *EACH_STEP], tmp_path)
    assert process.wait() == [-signal.SIGKILL], process.logs[0].read_text()
    checkpoints = tmp_path / "logs" / NAME / "run" / "checkpoints"
    assert list(checkpoints.glob("*.part"))
    for path in checkpoints.glob("*.ckpt"):
        verify(path)
    fit(tmp_path, *EACH_STEP)
    assert_undisturbed(tmp_path, undisturbed)


def test_a_full_disk_costs_no_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    files = DurableCheckpointIO()
    files.save_checkpoint({"state_dict": {"weight": torch.zeros(10)}}, path)
    with (
        full_disk(100_000),
        pytest.raises(OSError, match=f"could not write {path}, earlier checkpoints are not changed"),
    ):
        files.save_checkpoint({"state_dict": {"weight": torch.zeros(1_000_000)}}, path)
    assert files.load_checkpoint(path, weights_only=True)["state_dict"]["weight"].shape == (10,)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["truncated", "bit flipped"])
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, fault, undisturbed, cli, capsys):
    run = tmp_path / "logs" / NAME / "run"
    shutil.copytree(undisturbed / "logs" / NAME / "run", run)
    last = run / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    if fault == "truncated":
        content = content[: len(content) // 2]
    else:  # of the largest tensor: not all bytes of the file mean something
        with zipfile.ZipFile(last) as archive:
            tensor = archive.read(max(archive.infolist(), key=lambda record: record.file_size))
        content[content.index(tensor) + len(tensor) // 2] ^= 1
    last.write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match=f"{last} is damaged"):
        verify(last)
    with pytest.raises(SystemExit, match=r"error: \S*last.ckpt is damaged"):
        cli(*FIT, "--trainer.max_steps=30")
    (best,) = (path for path in last.parent.glob("*.ckpt") if path != last)
    cli("test", *FIT[1:8], "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--ckpt_path", str(best))
    assert "test/accuracy" in capsys.readouterr().out


@pytest.mark.slow
def test_a_folder_belongs_to_one_run(tmp_path, undisturbed, cli):
    run = tmp_path / "logs" / NAME / "run"
    shutil.copytree(undisturbed / "logs" / NAME / "run", run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match="holds the checkpoints of another run: resume it with"):
        cli(*ANEW)
    busy = ranks.Ranks(1, ["-c", "import fcntl, os, sys, time\n"
                           "fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)\n"
                           "print('locked', flush=True)\ntime.sleep(60)\n", str(run)], tmp_path / "busy")  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while "locked" not in busy.logs[0].read_text():
            assert busy.processes[0].poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(SystemExit, match=f"another run is writing to {re.escape('logs/' + NAME)}"):
            cli(*FIT)
    finally:
        busy.processes[0].kill()
        busy.wait()
    for path, content in before.items():
        assert path.read_bytes() == content, path


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_a_folder_that_cannot_be_written_is_named(cli):
    with pytest.raises(SystemExit, match=r"error: .*'/proc/logs"):
        cli(*ANEW, "--trainer.logger.init_args.save_dir=/proc/logs")
