"""Pictures of boxes."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

Categories: TypeAlias = Mapping[int, tuple[int, str]]
"""For each label from 1 the id that the annotation file gives the category, and its name."""
TRUE, PREDICTED = "lime", "orangered"


def draw_boxes(sample: Mapping[str, Any], categories: Categories, least: float = 0.5, size: float = 5.0) -> Figure:
    """Draw an image, its true boxes in green, and what was predicted in red.

    Args:
        sample: ``image`` (C, H, W) in [0, 1]; optionally true ``boxes`` (n, 4) in pixels, x1, y1, x2, y2, with
            ``labels`` (n,); and optionally ``predicted``, a dict of ``boxes``, ``labels`` and ``scores``. Without
            labels boxes have no name.
        categories: of the labels, by their names.
        least: predictions of a lower score are left out.
        size: of the longer side, in inches.
    """
    image = torch.as_tensor(sample["image"]).float().clamp(0, 1).cpu()
    height, width = image.shape[-2:]
    figure = Figure(figsize=(size * width / max(height, width), size * height / max(height, width)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(image.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
    axes.set_axis_off()
    groups = [(sample, TRUE)] if "boxes" in sample else []
    if "predicted" in sample:
        predicted = sample["predicted"]
        sure = predicted["scores"] >= least
        groups.append(({key: values[sure] for key, values in predicted.items()}, PREDICTED))
    for group, colour in groups:
        captions = _captions(group, categories)
        for (x1, y1, x2, y2), caption in zip(group["boxes"].tolist(), captions, strict=True):
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.5))
            below = colour == PREDICTED
            axes.text(
                x1 + 1, y2 - 1 if below else y1 + 1, caption, color=colour, fontsize=7, clip_on=True,
                va="bottom" if below else "top",
                bbox={"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 1},
            )  # fmt: skip
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure


def _captions(group: Mapping[str, Any], categories: Categories) -> list[str]:
    count = len(group["boxes"])
    labels: Tensor | None = group.get("labels")
    captions = [""] * count if labels is None else [categories[label][1] for label in labels.tolist()]
    scores: Tensor | None = group.get("scores")
    if scores is None:
        return captions
    return [f"{caption} {score:.2f}".strip() for caption, score in zip(captions, scores.tolist(), strict=True)]
