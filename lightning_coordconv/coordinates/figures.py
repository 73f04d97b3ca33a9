"""Callback and functions that draw a coordinate task's test results: where they are right, images and their sums."""

from collections import defaultdict
from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.figures import figures_folder, save_pictures
from lightning_coordconv.core.ranks import gathered

Columns = dict[str, Tensor]
LOADERS = ("test", "train")
"""Names of the positions that the test's loaders go over, in their order."""


class CoordinateFigures(CheckedArguments, Callback):
    """Draws the results of a test as PNG files in ``figures/``, and in the loggers.

    - ``positions``: every test and training position on the canvas, green where right, red where wrong (paper,
      figures 4 and 5).
    - ``samples``: for tasks that predict images, target and predicted images of test positions.
    - ``sums_test``, ``sums_train``: for tasks that predict images, the sum over all positions of the target and of the
      predicted images.

    The task provides the data by its methods ``report`` and ``image_pair``. Under DDP the first rank draws the results
    of all ranks.

    Args:
        num_samples: number of pairs in ``samples``, at least 1.
    """

    def __init__(self, num_samples: int = 6) -> None:
        check_at_least(1, num_samples=num_samples)
        self.num_samples = num_samples

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard the results of an earlier test."""
        self.reports: dict[str, list[Columns]] = defaultdict(list)
        self.sums: dict[str, Tensor] = {}
        self.samples: list[Tensor] = []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the report of each position, and the sums of the images."""
        part = LOADERS[dataloader_idx]
        report = pl_module.report(batch, outputs)
        self.reports[part].append({name: column.cpu() for name, column in report.items()})
        pair = pl_module.image_pair(batch, outputs)
        if pair is None:
            return
        images = torch.stack(pair).float().cpu()  # (2, B, H, W); NumPy has no bfloat16, whose sums are rounded
        self.sums[part] = self.sums.get(part, torch.zeros(())) + images.sum(1)
        if part == "test" and not self.samples:
            self.samples = list(images[:, : self.num_samples].unbind(1))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the results of all ranks, and draw them."""
        columns = {
            part: {name: torch.cat([columns[name] for columns in reports]) for name in reports[0]}
            for part, reports in self.reports.items()
        }
        parts = gathered((columns, self.sums))
        folder = figures_folder(trainer)
        if folder is None or not columns:
            return
        figures: dict[str, Figure] = {"positions": draw_positions([reports for reports, _ in parts])}
        if self.samples:
            figures["samples"] = draw_pairs(self.samples)
            for part in self.sums:
                total = torch.stack([sums[part] for _, sums in parts if part in sums]).sum(0)
                figures[f"sums_{part}"] = draw_pairs([total], vmax=None)
        save_pictures(trainer, folder, "test", figures)


def draw_positions(ranks: list[dict[str, Columns]]) -> Figure:
    """Draw a point for each position on the canvas: green where the prediction is right, red where it is wrong."""
    figure = Figure(figsize=(7, 4.1), layout="constrained")
    for axes, part in zip(figure.subplots(1, 2, sharex=True, sharey=True), reversed(LOADERS), strict=True):
        reports = [of_rank[part] for of_rank in ranks if part in of_rank]
        x, y, correct = (torch.cat([report[name] for report in reports]) for name in ("x", "y", "correct"))
        for name, chosen, color in (("right", correct, "tab:green"), ("wrong", ~correct, "tab:red")):
            label = f"{name}: {int(chosen.sum())}"
            axes.scatter(x[chosen], y[chosen], s=4, marker="s", color=color, linewidths=0, label=label)
        axes.set_title(f"{part} positions")
        axes.set_aspect("equal")
        axes.set_xlabel("x")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, markerscale=3, frameon=False)
    figure.axes[0].set_ylabel("y")
    figure.axes[0].invert_yaxis()
    return figure


def draw_pairs(pairs: list[Tensor], vmax: float | None = 1.0) -> Figure:
    """Draw targets in the upper row, predicted images in the lower."""
    figure = Figure(figsize=(max(1.6 * len(pairs), 3.2), 3.4 if len(pairs) > 1 else 6.4), layout="constrained")
    rows = figure.subplots(2, len(pairs), squeeze=False)
    for row, name in enumerate(("target", "predicted")):
        for axes, pair in zip(rows[row], pairs, strict=True):
            axes.imshow(pair[row].numpy(), cmap="gray", vmin=0, vmax=vmax)
            axes.set_xticks([])
            axes.set_yticks([])
        rows[row, 0].set_ylabel(name)
    return figure
