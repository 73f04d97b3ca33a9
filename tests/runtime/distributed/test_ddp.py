"""Tests that two ranks end as one process does, exchange running statistics only when read, and use loopback only."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.runtime.distributed import ranks

CONFIGS = Path(ranks.ROOT, "configs")
SMALL_CANVAS = "--data.canvas=16 --data.size=3 --data.batch_size=24 --data.eval_batch_size=10"
IMAGES = f"--data={ranks.__name__}.AllImages --data.count=27 --data.eval_count=10 --data.batch_size=8"
TASKS = {
    "coordinates/classification_quadrant_coordconv": f"{SMALL_CANVAS} --model.net.init_args.canvas=16",
    "coordinates/rendering_uniform_coordconv": f"{SMALL_CANVAS} --model.net.init_args.canvas=16",
    "coordinates/regression_uniform_coordconv": SMALL_CANVAS,
    "detection/proposals_coordconv": (
        f"--model={ranks.__name__}.FixedProposals --data.num_images=91 --data.batch_size=24 "
        "--data.num_eval_images=10 --data.eval_batch_size=4"
    ),
    "generative/small_coordconv": f"{IMAGES} --model.generator_optimizer=SGD --model.discriminator_optimizer=SGD",
}
STEPS = 20


def command(name: str, folder: Path, devices: int) -> str:
    """Return the arguments of a run of 20 steps in double precision, an epoch of uneven last batches among them."""
    return (
        f"fit -c {CONFIGS / name}.yaml --trainer.devices={devices} --trainer.accelerator=cpu "
        f"--trainer.strategy={'ddp' if devices > 1 else 'auto'} "
        f"--trainer.precision=64-true --trainer.max_steps={STEPS} --trainer.max_epochs=-1 "
        "--trainer.enable_progress_bar=false --trainer.num_sanity_val_steps=0 --trainer.check_val_every_n_epoch=1 "
        f"--trainer.val_check_interval=null --trainer.limit_val_batches=null {TASKS[name]} "
        f"--trainer.callbacks+={ranks.__name__}.Weights --trainer.callbacks.folder={folder / name}"
    )


def runs(names: list[str], folder: Path) -> dict[str, list[dict]]:
    """Return what one process (first) and two ranks (after it) end with, a list for each task."""
    for devices in (1, 2):
        jobs = " ; ".join(command(name, folder / str(devices), devices) for name in names)
        ranks.Ranks(devices, ["-m", ranks.__name__, *jobs.split()], folder / f"logs{devices}").end_with(0)
    files = [Path("1", "{}", "rank0.pt"), Path("2", "{}", "rank0.pt"), Path("2", "{}", "rank1.pt")]
    return {name: [torch.load(folder / str(file).format(name), weights_only=True) for file in files] for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("domain", ["coordinates", "detection", "generative"])
def test_ranks_end_with_the_weights_and_the_metrics_of_one_process(domain, tmp_path):
    for name, (alone, first, second) in runs([name for name in TASKS if name.startswith(domain)], tmp_path).items():
        for key, weight in alone["weights"].items():
            assert torch.equal(first["weights"][key], second["weights"][key]), (name, key)
            torch.testing.assert_close(first["weights"][key], weight, rtol=0, atol=1e-6, msg=f"{name} {key}")
        assert any(key.startswith("val/") for key in alone["logged"]), name
        for key, value in alone["logged"].items():
            if key in ("train/loss_d", "train/loss_g"):
                continue  # those of the first rank's images
            assert first["logged"][key] == pytest.approx(value, rel=1e-6, nan_ok=True), (name, key)
            if key.startswith("val/"):
                assert second["logged"][key] == pytest.approx(first["logged"][key], rel=0, nan_ok=True), (name, key)


@pytest.mark.slow
def test_running_statistics_are_exchanged_when_they_are_read(tmp_path):
    """Against DDP's own exchange in every step, which a network with another buffer has: the same, but in less."""
    nets = {"ours": "DeconvDecoder", "others": f"{ranks.__name__}.WithOtherBuffer", "averages": "DeconvDecoder"}
    config = f"fit -c {CONFIGS}/coordinates/rendering_uniform_deconv.yaml {SMALL_CANVAS}"
    steps = "--trainer.max_steps=20 --trainer.val_check_interval=10 --trainer.check_val_every_n_epoch=null"
    jobs = []
    for name, net in nets.items():
        net = f"--model.net={net} --model.net.init_args.canvas=16 --model.net.init_args.filter_size=3"
        callbacks = "".join(
            f" --trainer.callbacks+={ranks.__name__}.{callback} --trainer.callbacks.folder={tmp_path / name}"
            for callback in ("Weights", "Broadcasts")
        )
        callbacks += " --trainer.callbacks+=MovingAverage" if name == "averages" else ""
        jobs.append(f"{config} {net} {steps} {' '.join(ranks.DDP)} --trainer.devices=2 {callbacks}")
    ranks.Ranks(2, ["-m", ranks.__name__, *" ; ".join(jobs).split()], tmp_path).end_with(0)
    ours, others = (
        [torch.load(tmp_path / name / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
        for name in ("ours", "others")
    )
    assert set(ours[0]["weights"]) > set(ours[0]["parameters"])
    for run in (*ours, *others):
        assert run["weights"].keys() == ours[0]["weights"].keys()
        for key in run["parameters"]:
            assert torch.equal(run["weights"][key], ours[0]["weights"][key]), key
    for key, weight in others[0]["weights"].items():
        assert torch.equal(ours[0]["weights"][key], weight), key
        assert torch.equal(ours[1]["weights"][key], weight), key
    validated = {key: value for key, value in ours[0]["logged"].items() if key.startswith("val/")}
    assert validated
    for run in (ours[1], *others):
        assert {key: run["logged"][key] for key in validated} == validated
    for rank in range(2):
        assert (tmp_path / "ours" / f"broadcasts{rank}").read_text() == "0"
        for name in ("others", "averages"):  # averages of running statistics are taken in every step
            assert int((tmp_path / name / f"broadcasts{rank}").read_text()) >= 2


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_ranks_that_lightning_starts_listen_on_loopback_alone(tmp_path, monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    config = f"--config={CONFIGS / next(iter(TASKS))}.yaml"
    steps = ("--trainer.max_steps=1", "--trainer.val_check_interval=1", "--trainer.limit_val_batches=1")
    listening = (f"--trainer.callbacks+={ranks.__name__}.Listening", "--trainer.callbacks.folder=listening")
    environment = os.environ | {"PYTHONPATH": str(ranks.ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lightning_coordconv", "fit", config, *ranks.DDP, "--trainer.devices=2", *steps]
    subprocess.run([*command, *listening], cwd=tmp_path, env=environment, check=True, capture_output=True)
    addresses = [json.loads((tmp_path / "listening" / f"listening{rank}.json").read_text()) for rank in range(2)]
    assert addresses[0]
    loopback = {"0100007F", "00000000000000000000000001000000"}  # as /proc/net writes 127.0.0.1 and ::1
    assert {address for rank in addresses for address in rank} <= loopback
