"""Callback that draws the precision-recall curves of a test, and the function that draws them."""

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_coordconv.core.figures import figures_folder, save_pictures
from lightning_coordconv.core.pictures import legend_label, show_names
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.detection.boxes import Categories

MOST_CURVES = 10
"""Largest number of classes whose curves are drawn beside their mean."""


class PrecisionRecallFigure(Callback):
    """Draw the precision-recall curves of a test, of the images of all ranks, as ``figures/precision_recall_test.png``.

    A detection is right if its IoU with a true box of its class is at least 0.5. The task's test metrics must have a
    :class:`~lightning_coordconv.detection.CocoAveragePrecision` named ``coco``.
    """

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the curves, before the task resets its metrics."""
        task: Any = pl_module
        curves = task.test_metrics["coco"].precision_recall()  # gathers the detections of all ranks
        folder = figures_folder(trainer)
        if folder is not None and curves:
            figure = draw_curves(curves, getattr(data_module(trainer), "categories", {}))
            save_pictures(trainer, folder, "test", {"precision_recall_test": figure})


def draw_curves(curves: Mapping[int, Tensor], categories: Categories) -> Figure:
    """Draw precision against recall: the mean over classes, and each class if there are at most ten.

    Args:
        curves: by label the precision (101,) at the recalls 0, 0.01, ..., 1.
        categories: of the labels, by their names.
    """
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.subplots()
    recall = torch.linspace(0, 1, 101).numpy()
    for label, curve in curves.items() if len(curves) <= MOST_CURVES else ():
        name = categories[label][1] if label in categories else str(label)
        axes.plot(recall, curve.cpu().numpy(), linewidth=1, label=legend_label(f"{name}: {curve.mean():.2f}"))
    mean = torch.stack(list(curves.values())).mean(0).cpu()
    axes.plot(
        recall, mean.numpy(), color="black", linewidth=2.5, label=f"mean of {len(curves)} classes: {mean.mean():.2f}"
    )
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="Precision and recall at IoU 0.5")
    axes.grid(alpha=0.3)
    show_names(figure.legend(loc="outside right upper", title="average precision", frameon=False, fontsize=9))
    return figure
