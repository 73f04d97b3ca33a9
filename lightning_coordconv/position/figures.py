"""Function that draws an advice: maps of the target over the image, and how well each stage predicts position."""

import math

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_coordconv.position.advice import Advice
from lightning_coordconv.position.dependence import Dependence, predict_at
from lightning_coordconv.position.observations import Observations
from lightning_coordconv.position.readout import StageReadout

GRID = 32
"""Rows and columns of the maps."""
CLASSES = 3
"""Classes whose maps are drawn: the most frequent ones."""


def draw_advice(advice: Advice) -> Figure:
    """Draw a row of maps for each kind of target, and a bar chart of the readout by stage.

    A map shows the probability of a class, or the mean of a number, given the position of its centre, or where
    keypoints lie; the axes are scaled coordinates, the image spans -1 to 1.
    """
    rows = len(advice.observations) + 1
    figure = Figure(figsize=(11, 3.4 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, CLASSES)
    for row, (observed, found) in enumerate(zip(advice.observations, advice.dependence, strict=True)):
        panels = [figure.add_subplot(grid[row, column]) for column in range(CLASSES)]
        (_draw_places if observed.is_place else _draw_maps)(panels, observed, found)
    _draw_readout(figure.add_subplot(grid[-1, :]), advice.readout)
    return figure


def _draw_maps(panels: list[Axes], observed: Observations, found: Dependence) -> None:
    where = torch.cartesian_prod(torch.linspace(-1, 1, GRID), torch.linspace(-1, 1, GRID))
    bandwidth = 1.0 if math.isinf(found.bandwidth) else max(found.bandwidth, 0.1)
    places = observed.positions.split(2, dim=1)  # of one object, or of each channel
    maps = [predict_at(place, observed.targets, where, bandwidth).view(GRID, GRID, -1) for place in places]
    if observed.targets.is_floating_point():
        shown = [map_[..., 0] for map_ in maps[: len(panels)]]
        titles = ["mean"] if len(maps) == 1 else [f"mean given channel {channel}" for channel in range(len(shown))]
    else:
        classes, counts = observed.targets.unique(return_counts=True)
        chosen = counts.argsort(descending=True)[: len(panels)].tolist()
        shown = [maps[0][..., index] for index in chosen]
        titles = [f"probability of class {int(classes[index])}" for index in chosen]
    low, high = (None, None) if observed.targets.is_floating_point() else (0.0, 1.0)
    for axes, title, map_ in zip(panels, titles, shown, strict=False):
        image = axes.imshow(map_.numpy(), extent=(-1, 1, 1, -1), cmap="viridis", vmin=low, vmax=high)
        axes.set(title=title, xlabel="j (column)", ylabel="i (row)")
        axes.figure.colorbar(image, ax=axes, shrink=0.8)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    panels[1].set_title(f"{observed.what}: position adds {max(found.added.value, 0):.0%}\n{panels[1].get_title()}")


def _draw_places(panels: list[Axes], observed: Observations, found: Dependence) -> None:
    kinds, counts = observed.targets.unique(return_counts=True)
    chosen = kinds[counts.argsort(descending=True)][: len(panels)].tolist()
    for axes, kind in zip(panels, chosen, strict=False):
        rows, columns = observed.positions[observed.targets == kind].unbind(1)
        axes.plot(columns.numpy(), rows.numpy(), ".", alpha=0.5)
        axes.set(title=f"keypoint {kind}", xlabel="j (column)", ylabel="i (row)", xlim=(-1, 1), ylim=(1, -1))
    for axes in panels[len(chosen) :]:
        axes.set_axis_off()
    panels[1].set_title(f"{observed.what}: {found.share.value:.0%} from its mean\n{panels[1].get_title()}")


def _draw_readout(axes: Axes, readout: list[StageReadout]) -> None:
    bars = {
        "images": [stage.images for stage in readout],
        "images, no zero padding": [stage.without_padding for stage in readout],
        "blank canvas": [stage.blank for stage in readout],
        "blank canvas, no zero padding": [stage.blank_without_padding for stage in readout],
    }
    width = 0.8 / len(bars)
    for number, (name, shares) in enumerate(bars.items()):
        places = [index + (number - (len(bars) - 1) / 2) * width for index in range(len(shares))]
        axes.bar(places, [max(share, 0) for share in shares], width, label=name)
    axes.set(title="Share of position that a linear readout explains, by stage", ylim=(0, 1), ylabel="explained share")
    labels = [f"{stage.stage}\n{stage.size[0]} x {stage.size[1]}" for stage in readout]
    axes.set_xticks(range(len(readout)), labels=labels, fontsize=8)
    axes.legend(fontsize=8)
