"""Tests that figures are saved in the run's folder and every logger, by the first rank only."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_coordconv.core.figures import figures_folder, log_folder, save_pictures


def size(path: str | Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


class Wandb(WandbLogger):
    """Records its calls; the real logger needs the package wandb."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        self.calls.append((key, [size(path) for path in images], step))


class MLFlow(MLFlowLogger):
    """Records its calls; the real logger needs the package mlflow."""

    run_id = "run"

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    @property
    def experiment(self) -> Any:
        return SimpleNamespace(log_artifact=self.log_artifact)

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str) -> None:
        self.calls.append((run_id, Path(local_path).name, artifact_path))


def pictures() -> dict[str, Any]:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1])
    return {"curve": figure, "samples": torch.full((3, 4, 6), 200, dtype=torch.uint8)}


def test_pictures_go_to_the_folder_and_to_every_logger(tmp_path):
    board, csv, wandb, mlflow = TensorBoardLogger(tmp_path), CSVLogger(tmp_path), Wandb(), MLFlow()
    trainer = Trainer(accelerator="cpu", logger=[board, csv, wandb, mlflow])
    folder = log_folder(trainer)
    assert folder == Path(board.log_dir)
    save_pictures(trainer, folder, "val", pictures())
    assert size(folder / "figures" / "curve_000000.png") == (240, 120)
    assert size(folder / "figures" / "samples_000000.png") == (6, 4)
    assert wandb.calls == [("val/curve", [(240, 120)], 0), ("val/samples", [(6, 4)], 0)]
    assert mlflow.calls == [("run", "curve_000000.png", "figures/val"), ("run", "samples_000000.png", "figures/val")]
    board.experiment.flush()
    events = EventAccumulator(board.log_dir).Reload()
    assert sorted(events.Tags()["images"]) == ["val/curve", "val/samples"]


@pytest.mark.parametrize("logger", [True, False])
def test_a_run_always_has_a_folder(tmp_path, logger):
    trainer = Trainer(accelerator="cpu", logger=CSVLogger(tmp_path / "logs") if logger else False,
                      default_root_dir=tmp_path)  # fmt: skip
    assert log_folder(trainer) == (Path(trainer.logger.log_dir) if logger else tmp_path)
    assert figures_folder(trainer) == (Path(trainer.logger.log_dir) if logger else None)


def test_a_logger_without_files_leaves_the_trainers_folder(tmp_path):
    class Remote(MLFlow):
        save_dir = None

    assert log_folder(Trainer(accelerator="cpu", logger=Remote(), default_root_dir=tmp_path)) == tmp_path


def test_only_the_first_rank_has_a_folder():
    trainer = SimpleNamespace(log_dir="logs", default_root_dir=".", is_global_zero=False)
    assert log_folder(trainer) is None
