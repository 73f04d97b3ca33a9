"""Callback that draws true and detected objects after evaluations; functions that split a batch and draw a sample."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.figures import figures_folder, save_pictures
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.detection.boxes import draw_boxes
from lightning_coordconv.detection.skeleton import Skeleton


class DetectionFigures(CheckedArguments, Callback):
    """Draw truth and detections on the same few images after each validation and test.

    They are written to ``figures/detections_val_<k>_<steps>.png`` and ``figures/detections_test_<k>.png`` beside the
    logs, and to TensorBoard at each step. The first rank draws its first images. Names of the categories and lines
    between keypoints are those of the data module, if it has ``categories`` and a ``skeleton``.

    Args:
        num_images: number of images, from the first on.

    Raises:
        ValueError: if ``num_images`` is not positive.
    """

    def __init__(self, num_images: int = 4) -> None:
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        self.num_images = num_images
        self.samples: list[dict[str, Any]] = []

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Keep the detections on the first images."""
        wanted = self.num_images - len(self.samples)
        self.samples += [sample for _, sample in zip(range(wanted), samples_of(batch, outputs["preds"]), strict=False)]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the detections that were kept."""
        self._draw(trainer, "val")

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Keep the detections on the first images."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the detections that were kept."""
        self._draw(trainer, "test")

    def _draw(self, trainer: Trainer, stage: str) -> None:
        samples, self.samples = self.samples, []
        folder = figures_folder(trainer)
        if folder is not None and not trainer.sanity_checking:
            data = data_module(trainer)
            figures = [draw_sample(data, sample) for sample in samples]
            named = {f"detections_{stage}_{number}": figure for number, figure in enumerate(figures)}
            save_pictures(trainer, folder, stage, named)


def draw_sample(data: Any, sample: Mapping[str, Any]) -> Figure:
    """Draw a sample, with the names of categories and the lines between keypoints that the data module has."""
    return draw_boxes(sample, getattr(data, "categories", {}), bones=getattr(data, "skeleton", Skeleton()).bones)


def samples_of(batch: Mapping[str, Any], detections: Sequence[Mapping[str, Tensor]]) -> Iterator[dict[str, Any]]:
    """Take a batch apart, and give each image what was detected on it, all on the CPU."""
    for index, detected in enumerate(detections):
        sample = {key: _on_cpu(values[index]) for key, values in batch.items()}
        yield sample | {"predicted": {key: _on_cpu(values) for key, values in detected.items()}}


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value
