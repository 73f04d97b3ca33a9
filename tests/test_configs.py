"""Tests that every shipped config trains, tests and restores; their style; default figures and callbacks."""

import pydoc
from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch
import yaml

from lightning_coordconv.coordinates import CoordinateClassification, CoordinateFigures
from lightning_coordconv.runtime import shipped_configs
from lightning_coordconv.runtime.shipped_configs import CONFIGS

EXPERIMENTS = shipped_configs.experiments()
OVERLAYS = sorted(CONFIGS.glob("*/ablations/**/*.yaml"))
STEPS = ("--trainer.max_steps=2", "--trainer.limit_val_batches=1", "--trainer.limit_test_batches=1",
         "--trainer.limit_predict_batches=1", "--trainer.check_val_every_n_epoch=null",
         "--trainer.val_check_interval=1", "--trainer.enable_progress_bar=false",
         "--trainer.num_sanity_val_steps=0")  # fmt: skip


def name(path: Path) -> str:
    return path.relative_to(CONFIGS).with_suffix("").as_posix()


def smoke(experiment: str) -> list[str]:
    """What an experiment needs in tests, as tests/configs says: data, and what makes it quick."""
    domain, _, stem = experiment.partition("/")
    file = Path(__file__).parent / "configs" / f"{domain}.yaml"
    patterns = yaml.safe_load(file.read_text()) if file.is_file() else {}
    return [argument for pattern, arguments in patterns.items() if fnmatch(stem, pattern) for argument in arguments]


def body(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


def test_configs_are_short():
    """The first 79 configs have 1,000 lines, and each new one may add twenty."""
    lengths = [len(path.read_text().splitlines()) for path in CONFIGS.rglob("*.yaml")]
    assert sum(lengths) <= 1000 + 20 * max(0, len(lengths) - 79)
    assert {name(path): len(body(path)) for path in OVERLAYS if len(body(path)) > 8} == {}


def test_every_config_begins_with_what_it_is():
    for path in CONFIGS.rglob("*.yaml"):
        assert path.read_text().startswith("# "), path


def test_every_overlay_says_with_which_configs_it_runs():
    used = {path for paths in EXPERIMENTS.values() for path in paths[1:]}
    assert used == set(OVERLAYS)
    assert all(len(paths) == 2 for paths in EXPERIMENTS.values() if paths[-1] in used)
    assert all(path.is_file() for paths in EXPERIMENTS.values() for path in paths)


@pytest.mark.parametrize("path", sorted({paths[0] for paths in EXPERIMENTS.values()}), ids=name)
def test_what_is_derived_is_not_typed(path):
    """The logger's name comes from the path, and the figures from the task."""
    trainer = yaml.safe_load(path.read_text())["trainer"]
    assert "logger" not in trainer
    tables = [callback["class_path"] for callback in trainer.get("callbacks", []) if "init_args" not in callback]
    assert tables in ([], ["lightning_coordconv.detection.CocoResults"])  # which only COCO's data have


@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_config_runs(experiment, cli, capsys):
    overlay = len(EXPERIMENTS[experiment]) > 1  # with the task and the figures of the config under it
    more = [*STEPS, *smoke(experiment), *["--figures=false"] * overlay]
    folder = cli("fit", "-c", experiment, *more) / "logs" / experiment / "version_0"
    assert "test/" in capsys.readouterr().out
    assert (folder / "summary.json").is_file()
    if overlay:
        return
    checkpoint = folder / "checkpoints" / "last.ckpt"
    cli("test", "-c", experiment, *more, "--ckpt_path", checkpoint)
    task = pydoc.locate(yaml.safe_load(EXPERIMENTS[experiment][0].read_text())["model"]["class_path"])
    restored = task.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    for key, value in restored.state_dict().items():
        assert torch.equal(value, saved[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("figures", [True, False])
def test_figures_can_be_switched_off(figures, cli):
    experiment = "coordinates/classification_quadrant_deconv"
    folder = cli("fit", "-c", experiment, *STEPS, *smoke(experiment), f"--figures={str(figures).lower()}")
    assert len(list(folder.rglob("figures/*.png"))) == (4 if figures else 0)


@pytest.mark.slow
def test_a_configured_callback_replaces_the_default_one(cli, monkeypatch):
    """And tasks that are used in Python draw nothing that they were not asked for."""
    experiment, built = "coordinates/classification_quadrant_deconv", []
    monkeypatch.setattr(CoordinateFigures, "on_test_start", lambda figures, *_: built.append(figures.num_samples))
    monkeypatch.setattr(CoordinateFigures, "on_test_batch_end", lambda *_: None)
    monkeypatch.setattr(CoordinateFigures, "on_test_end", lambda *_: None)
    more = (
        "--trainer.callbacks+=lightning_coordconv.coordinates.CoordinateFigures",
        "--trainer.callbacks.num_samples=3",
    )
    cli("fit", "-c", experiment, *STEPS, *smoke(experiment), *more)
    assert built == [3]
    assert CoordinateClassification(net=torch.nn.Identity()).configure_callbacks() == []
