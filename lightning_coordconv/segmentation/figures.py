"""Callback that draws images with true and predicted masks, and the confusion matrix of a test."""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.confusion import draw_confusion
from lightning_coordconv.core.figures import figures_folder, save_pictures
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.segmentation.drawing import draw_masks
from lightning_coordconv.segmentation.metrics import ConfusionMatrix

MATRIX_CLASSES = 1000
"""Most classes whose confusion matrix is drawn: its counts need 8 MB."""


class SegmentationFigures(CheckedArguments, Callback):
    """Draw image, true mask and predicted mask of the same few images after each validation and test.

    As ``figures/masks_val_<k>_<steps>.png`` and ``figures/masks_test_<k>.png`` beside the logs, and in the loggers at
    each step. The first rank draws its own images. The classes have the names of the data, or else those of the task.
    A test also draws the confusion matrix of up to 1,000 classes.

    Args:
        num_images: how many, from the first on, at least 1.

    Raises:
        ValueError: if that is not positive.
    """

    def __init__(self, num_images: int = 4) -> None:
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        self.num_images = num_images
        self.samples: list[dict[str, Any]] = []
        self.confusion: ConfusionMatrix | None = None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Keep the first images and their masks."""
        for number, predicted in enumerate(outputs["preds"][: self.num_images - len(self.samples)]):
            sample = {key: _on_cpu(values[number]) for key, values in batch.items()}
            self.samples.append(sample | {"predicted": predicted.cpu()})

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw them."""
        self._draw(trainer, "val")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count the pairs of classes, unless there are too many to draw."""
        task: Any = pl_module
        few = task.num_classes <= MATRIX_CLASSES
        self.confusion = ConfusionMatrix(task.num_classes, task.ignore_index).to(task.device) if few else None

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Keep the first images and their masks, and count the pairs of classes."""
        self.on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self.confusion is not None:
            self.confusion.update(outputs["preds"], outputs["target"])

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the confusion matrix of the pixels of all ranks, as ``figures/confusion_test.png``."""
        task: Any = pl_module
        if self.confusion is None:
            rank_zero_info(f"No confusion matrix is drawn: {task.num_classes} classes are more than {MATRIX_CLASSES}.")
            return
        matrix, self.confusion = self.confusion.compute(), None
        folder = figures_folder(trainer)
        if folder is not None:
            save_pictures(trainer, folder, "test", {"confusion_test": draw_confusion(matrix, _class_names(trainer))})

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw them."""
        self._draw(trainer, "test")

    def _draw(self, trainer: Trainer, stage: str) -> None:
        samples, self.samples = self.samples, []
        folder = figures_folder(trainer)
        if folder is not None and not trainer.sanity_checking:
            task: Any = trainer.lightning_module
            names = _class_names(trainer)
            figures = {
                f"masks_{stage}_{number}": draw_masks(sample, names, task.ignore_index)
                for number, sample in enumerate(samples)
            }
            save_pictures(trainer, folder, stage, figures)


def _class_names(trainer: Trainer) -> list[str]:
    """Return the names of the classes: those of the data, or those of the task if the data have numbers only."""
    task: Any = trainer.lightning_module
    names = list(getattr(data_module(trainer), "class_names", ()))
    return task.class_names if names == [str(number) for number in range(len(names))] else names


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value
