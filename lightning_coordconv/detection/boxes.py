"""Function that draws an image with its true and its predicted objects: boxes, masks and keypoints."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from lightning_coordconv.detection.overlays import HALO, draw_keypoints, draw_masks

Categories: TypeAlias = Mapping[int, tuple[int, str]]
"""For each label from 1 the id that the annotation file gives the category, and its name."""
TRUE, PREDICTED = "lime", "orangered"
LEGEND = (2.6, 0.4)
"""Smallest width and the height, in inches, of the legend below an image."""


def draw_boxes(
    sample: Mapping[str, Any],
    categories: Categories,
    least: float = 0.5,
    size: float = 5.0,
    hidden: int = 0,
    bones: Sequence[tuple[int, int]] = (),
) -> Figure:
    """Draw an image, its true boxes in green with solid lines, and the predicted ones in red with broken lines.

    Masks and keypoints have the colour of their box, if there are any. A legend below the image tells the two colours
    apart, and says how many boxes there are of each, and how many predictions are hidden because of their score.

    Args:
        sample: ``image`` (C, H, W) in [0, 1]; optionally true ``boxes`` (n, 4) in pixels, x1, y1, x2, y2, with
            ``labels`` (n,); and optionally ``predicted``, a dict of ``boxes``, ``labels`` and ``scores``. Without
            labels boxes have no name. Both may have ``masks`` (n, H, W) and ``keypoints`` (n, K, 3).
        categories: of the labels; a label without a category is shown as its number.
        least: predictions of a lower score are hidden.
        size: of the longer side of the image, in inches.
        hidden: number of predictions of a lower score that ``sample`` does not have any more.
        bones: pairs of keypoints, numbered from 0, that a line connects.
    """
    image = torch.as_tensor(sample["image"]).float().clamp(0, 1).cpu()
    height, width = image.shape[-2:]
    scale = size / max(height, width)
    across, down = max(width * scale, LEGEND[0]), height * scale + LEGEND[1]
    figure = Figure(figsize=(across, down))
    share = width * scale / across
    axes = figure.add_axes(((1 - share) / 2, LEGEND[1] / down, share, 1 - LEGEND[1] / down))
    axes.imshow(image.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
    axes.set_axis_off()
    entries = []
    if "boxes" in sample:
        _draw_group(axes, sample, categories, TRUE, bones)
        entries.append(_entry(TRUE, f"true: {len(sample['boxes'])}"))
    if "predicted" in sample:
        predicted = sample["predicted"]
        shown = predicted["scores"] >= least
        group = {key: values[shown] for key, values in predicted.items()}
        _draw_group(axes, group, categories, PREDICTED, bones)
        count = len(group["boxes"])
        hidden += len(predicted["boxes"]) - count
        entries.append(_entry(PREDICTED, f"predicted: {count} with a score from {least:g}, {hidden} below"))
        if not count:
            title = f"all scores below {least:g}" if hidden else "nothing predicted"
            axes.set_title(title, y=1, pad=-4, va="top", color=PREDICTED, fontsize=10, backgroundcolor=(0, 0, 0, 0.6))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    if entries:
        figure.legend(handles=entries, loc="lower center", fontsize=6, frameon=False, borderaxespad=0.1)
    return figure


def _draw_group(
    axes: Axes, group: Mapping[str, Any], categories: Categories, colour: str, bones: Sequence[tuple[int, int]]
) -> None:
    """Draw objects with their names: at the top of true boxes, and at the bottom of predicted ones."""
    below = colour == PREDICTED
    style = "--" if below else "-"
    right, bottom = axes.get_images()[0].get_extent()[1:3]
    if "masks" in group:
        draw_masks(axes, group["masks"], colour, style)
    for (x1, y1, x2, y2), caption in zip(group["boxes"].tolist(), _captions(group, categories), strict=True):
        line: dict[str, Any] = {"edgecolor": colour, "linewidth": 1.5, "linestyle": style, "path_effects": HALO}
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **line))
        x, y = min(max(x1, 0), right) + 1, min(y2, bottom) - 1 if below else max(y1, 0) + 1  # inside the image
        axes.text(
            x, y, caption, color=colour, fontsize=7, clip_on=True, va="bottom" if below else "top", parse_math=False,
            bbox={"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 1},
        )  # fmt: skip
    if "keypoints" in group:
        draw_keypoints(axes, group["keypoints"], bones, colour, style)


def _entry(colour: str, label: str) -> Line2D:
    return Line2D([], [], color=colour, linestyle="--" if colour == PREDICTED else "-", label=label)


def _captions(group: Mapping[str, Any], categories: Categories) -> list[str]:
    count = len(group["boxes"])
    labels: Tensor | None = group.get("labels")
    captions = [""] * count
    if labels is not None:
        captions = [categories[label][1] if label in categories else str(label) for label in labels.tolist()]
    scores: Tensor | None = group.get("scores")
    if scores is None:
        return captions
    return [f"{caption} {score:.2f}".strip() for caption, score in zip(captions, scores.tolist(), strict=True)]
