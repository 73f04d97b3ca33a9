"""Callback that draws, after a test, the mean image and the objects' positions, of generated and of real images."""

from typing import Any

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from lightning_coordconv.core.figures import figures_folder, save_pictures
from lightning_coordconv.core.ranks import gathered

KINDS = ("real", "generated")


class ObjectPositionFigures(Callback):
    """Draw the images of a test, generated next to real ones (paper, figure 6).

    ``figures/mean.png`` shows the mean of all images, ``figures/positions.png`` the centres of the red and of the blue
    objects, and of the red relative to the blue. For a task with ``object_radius``. Under DDP the first rank draws the
    images of all ranks.
    """

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Reset the sums and centres."""
        self.sums: dict[str, Tensor] = dict.fromkeys(KINDS, torch.zeros(()))
        self.centres: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Add the sum of the images, and the centres of their objects."""
        for kind in KINDS:
            self.sums[kind] = self.sums[kind] + outputs[kind].sum(0).cpu()
            self.centres[kind].append(outputs[f"{kind}_centres"].cpu())

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Gather sums and centres of all ranks, and draw them."""
        parts = gathered((self.sums, {kind: torch.cat(self.centres[kind]) for kind in KINDS}))
        folder = figures_folder(trainer)
        if folder is None:
            return
        centres = {kind: torch.cat([found[kind] for _, found in parts]) for kind in KINDS}
        means = {kind: torch.stack([sums[kind] for sums, _ in parts]).sum(0) / len(centres[kind]) for kind in KINDS}
        canvas = means["real"].shape[-1]
        save_pictures(trainer, folder, "test", {"mean": _means(means), "positions": _positions(centres, canvas)})


def _means(means: dict[str, Tensor]) -> Figure:
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    for axes, (kind, image) in zip(figure.subplots(1, 2), means.items(), strict=True):
        axes.imshow(((image + 1) / 2).clamp(0, 1).permute(1, 2, 0).numpy())
        axes.set_title(f"mean, {kind}")
        axes.set_axis_off()
    return figure


def _positions(centres: dict[str, Tensor], canvas: int) -> Figure:
    """Draw three scatter plots for real and for generated images, with the grid that entropies are computed on."""
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    for row, (kind, found) in zip(figure.subplots(2, 3), centres.items(), strict=True):
        blue, red = found.unbind(1)
        panels = {
            "red": (red, "tab:red", 0),
            "blue": (blue, "tab:blue", 0),
            "red - blue": (red - blue, "tab:purple", -canvas),
        }
        for axes, (name, (points, colour, start)) in zip(row, panels.items(), strict=True):
            axes.scatter(*points.T.numpy(), s=3, color=colour, linewidths=0)
            axes.set(title=f"{kind}, {name}", xlim=(start, canvas), ylim=(canvas, start), aspect="equal")
            ticks = torch.linspace(start, canvas, 11).tolist()
            axes.set_xticks(ticks, labels=[])
            axes.set_yticks(ticks, labels=[])
            axes.grid(linewidth=0.3)
    return figure
