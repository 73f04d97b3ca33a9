"""Pictures of the coordinate tasks: where on the canvas the network is right, and what it paints."""

from collections import defaultdict
from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_coordconv.core.figures import gathered, log_folder, save_pictures

Columns = dict[str, Tensor]
PARTS = ("test", "train")
"""The positions that the loaders of the test go over, in their order."""


class CoordinateFigures(Callback):
    """Draw what a test found, as PNG files in ``figures/`` beside the logs and in TensorBoard.

    ``positions``: the canvas with every test and training position, right or wrong (paper, figures 4 and 5);
    ``sums``: for painters, the sum of all targets beside the sum of all paintings, for either part; ``samples``: for
    painters, targets and paintings of test positions side by side.

    The task's ``report`` and ``paint`` say what there is to draw. Under DDP each rank sees a part of the positions; the
    first rank draws all of them.

    Args:
        num_samples: paintings in ``samples``.
    """

    def __init__(self, num_samples: int = 6) -> None:
        self.num_samples = num_samples

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget what an earlier test found."""
        self.reports: dict[str, list[Columns]] = defaultdict(list)
        self.sums: dict[str, Tensor] = {}
        self.samples: list[Tensor] = []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the report of each position, and the sum of what was painted."""
        part = PARTS[dataloader_idx]
        report = pl_module.report(batch, outputs)
        self.reports[part].append({name: column.cpu() for name, column in report.items()})
        pair = pl_module.paint(batch, outputs)
        if pair is None:
            return
        images = torch.stack(pair).cpu()  # (2, B, H, W)
        self.sums[part] = self.sums.get(part, torch.zeros(())) + images.sum(1)
        if part == "test" and not self.samples:
            self.samples = list(images[:, : self.num_samples].unbind(1))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather what the ranks found, and draw it."""
        found = {
            part: {name: torch.cat([columns[name] for columns in reports]) for name in reports[0]}
            for part, reports in self.reports.items()
        }
        parts = gathered(trainer, (found, self.sums))
        folder = log_folder(trainer)
        if folder is None:
            return
        figures: dict[str, Figure] = {"positions": _positions([found for found, _ in parts])}
        if self.samples:
            figures["samples"] = _pairs(self.samples)
            for part in self.sums:
                total = torch.stack([sums[part] for _, sums in parts]).sum(0)
                figures[f"sums_{part}"] = _pairs([total], vmax=None)
        save_pictures(trainer, folder, "test", figures)


def _positions(found: list[dict[str, Columns]]) -> Figure:
    """Draw a point for each position on the canvas: green where right, red where wrong."""
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    for axes, part in zip(figure.subplots(1, 2, sharex=True, sharey=True), reversed(PARTS), strict=True):
        columns = [ranks[part] for ranks in found if part in ranks]
        right, wrong = 0, 0
        for report in columns:
            correct = report["correct"].bool()
            for chosen, color in ((correct, "tab:green"), (~correct, "tab:red")):
                axes.scatter(
                    *(report[axis][chosen].numpy() for axis in "xy"), s=4, marker="s", color=color, linewidths=0
                )
            right, wrong = right + int(correct.sum()), wrong + int((~correct).sum())
        axes.set_title(f"{part}: {right} of {right + wrong} right")
        axes.set_aspect("equal")
        axes.set_xlabel("x")
    figure.axes[0].set_ylabel("y")
    figure.axes[0].invert_yaxis()
    return figure


def _pairs(pairs: list[Tensor], vmax: float | None = 1.0) -> Figure:
    """Draw targets (upper row) above what was painted (lower row)."""
    figure = Figure(figsize=(max(1.6 * len(pairs), 3.2), 3.4 if len(pairs) > 1 else 6.4), layout="constrained")
    rows = figure.subplots(2, len(pairs), squeeze=False)
    for row, name in enumerate(("target", "painted")):
        for axes, pair in zip(rows[row], pairs, strict=True):
            axes.imshow(pair[row].numpy(), cmap="gray", vmin=0, vmax=vmax)
            axes.set_xticks([])
            axes.set_yticks([])
        rows[row, 0].set_ylabel(name)
    return figure
