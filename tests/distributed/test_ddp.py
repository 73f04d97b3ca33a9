"""Two ranks do what one process does: the same weights, the same metrics, each sample once."""

from pathlib import Path

import pytest
import torch

from tests.distributed import ranks

COORDINATES = Path(ranks.ROOT, "configs", "coordinates")
TASKS = ("classification_quadrant_coordconv", "rendering_uniform_coordconv", "regression_uniform_coordconv")
STEPS = 20


def command(name: str, folder: Path, devices: int) -> str:
    """Return the arguments of a run of 20 steps in double precision, an epoch of uneven last batches among them."""
    return (
        f"fit -c {COORDINATES / name}.yaml --trainer.devices={devices} --trainer.accelerator=cpu "
        f"--trainer.strategy={'ddp' if devices > 1 else 'auto'} "
        f"--trainer.precision=64-true --trainer.max_steps={STEPS} "
        "--trainer.enable_progress_bar=false --trainer.num_sanity_val_steps=0 --trainer.check_val_every_n_epoch=1 "
        "--trainer.val_check_interval=null --trainer.limit_val_batches=null --data.canvas=16 --data.size=3 "
        "--data.batch_size=24 --data.eval_batch_size=10 "
        f"{'' if name.startswith('regression') else '--model.net.init_args.canvas=16 '}"
        f"--trainer.callbacks+={ranks.__name__}.Weights --trainer.callbacks.folder={folder / name}"
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    """Return what one process (first) and two ranks (after it) ended with, a list for each task."""
    folder = tmp_path_factory.mktemp("runs")
    for devices in (1, 2):
        jobs = " ; ".join(command(name, folder / str(devices), devices) for name in TASKS)
        ranks.Ranks(devices, ["-m", ranks.__name__, *jobs.split()], folder / f"logs{devices}").succeed()
    files = [Path("1", "{}", "rank0.pt"), Path("2", "{}", "rank0.pt"), Path("2", "{}", "rank1.pt")]
    return {name: [torch.load(folder / str(file).format(name), weights_only=True) for file in files] for name in TASKS}


@pytest.mark.parametrize("name", TASKS)
def test_ranks_hold_the_same_weights_and_those_of_one_process(runs, name):
    alone, first, second = (run["weights"] for run in runs[name])
    for key, weight in alone.items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], weight, rtol=0, atol=1e-6, msg=key)


@pytest.mark.parametrize("name", TASKS)
def test_metrics_are_those_of_one_process(runs, name):
    alone, first, second = (run["logged"] for run in runs[name])
    assert any(key.startswith("val/") for key in alone)
    for key, value in alone.items():
        assert first[key] == pytest.approx(value, rel=1e-6), key
        assert second[key] == first[key] or not key.startswith("val/"), key
