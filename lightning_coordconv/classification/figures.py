"""Callback that draws the confusion matrix of a test, and a function that draws an image with its class."""

from typing import Any

from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from lightning_coordconv.classification.metrics import predicted_class
from lightning_coordconv.core.confusion import draw_confusion
from lightning_coordconv.core.figures import figures_folder, save_pictures
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.core.undefined import is_undefined

MOST_CLASSES = 1000
"""Largest number of classes of which a confusion matrix is drawn."""


class ConfusionFigure(Callback):
    """Draw the confusion matrix of a test, of the samples of all ranks, as ``figures/confusion_test.png``.

    It is drawn for up to 1,000 classes, and not if a sample has logits that are NaN or infinite: it is in no class.
    """

    def __init__(self) -> None:
        self.metric: MulticlassConfusionMatrix | None = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard the counts of an earlier test."""
        self.metric = None

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: int
    ) -> None:
        """Count the predictions of a batch."""
        logits = outputs["preds"]
        if logits.shape[1] > MOST_CLASSES:
            return
        if self.metric is None:  # with one class more, of the samples whose logits are undefined
            self.metric = MulticlassConfusionMatrix(max(2, logits.shape[1]) + 1).to(logits.device)
        undefined = is_undefined(logits).any(1)
        predicted = predicted_class(logits).masked_fill(undefined, self.metric.num_classes - 1)
        self.metric.update(predicted, outputs["target"])

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the matrix."""
        if self.metric is None:
            return
        counts = self.metric.compute()  # gathers the counts of all ranks
        matrix, undefined = counts[:-1, :-1], int(counts[:, -1].sum())
        if undefined:
            total = int(counts.sum())
            rank_zero_info(f"No confusion matrix is drawn: {undefined} of {total} samples have NaN or infinite logits.")
            return
        folder = figures_folder(trainer)
        if folder is not None:
            names = getattr(data_module(trainer), "class_names", ())
            save_pictures(trainer, folder, "test", {"confusion_test": draw_confusion(matrix, names)})


def draw_labelled(image: Tensor, title: str) -> Figure:
    """Draw an image (C, H, W) in [0, 1], grey or RGB, under a title."""
    figure = Figure(figsize=(3, 3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(image.clamp(0, 1).permute(1, 2, 0).cpu().numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, parse_math=False)
    axes.set_axis_off()
    return figure
