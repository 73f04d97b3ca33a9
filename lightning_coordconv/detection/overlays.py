"""Functions that draw the masks and the keypoints of objects on an image."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patheffects import AbstractPathEffect, withStroke
from torch import Tensor

OPACITY = 0.35
"""Opacity of a mask; its outline is opaque."""
HALO: list[AbstractPathEffect] = [
    withStroke(linewidth=3, foreground="black", dashes={"dash_offset": 0, "dash_list": None})
]
"""A dark line, without gaps, below the lines of objects: they are seen on objects of their own colour."""


def draw_masks(axes: Axes, masks: Tensor, colour: str, style: str) -> None:
    """Fill masks (n, H, W), bool or 0 and 1, with a colour, and draw the outline of each.

    Args:
        axes: show the image, with an extent of its size.
        masks: of the image's size.
        colour: of Matplotlib.
        style: of the outlines, ``"-"`` or ``"--"``.
    """
    height, width = masks.shape[-2:]
    solid = masks.bool().numpy()
    paint = np.zeros((height, width, 4))
    paint[solid.any(0)] = to_rgba(colour, OPACITY)
    axes.imshow(paint, extent=(0, width, height, 0), interpolation="nearest")
    x, y = np.arange(-0.5, width + 1), np.arange(-0.5, height + 1)
    for mask in solid:
        framed = np.pad(mask, 1).astype(float)  # so that outlines are closed at the border of the image
        outline = axes.contour(x, y, framed, levels=[0.5], colors=[colour], linewidths=0.8, linestyles=[style])
        outline.set_path_effects(HALO)


def draw_keypoints(axes: Axes, keypoints: Tensor, bones: Sequence[tuple[int, int]], colour: str, style: str) -> None:
    """Draw the keypoints (n, K, 3) of objects, and bones: visible ones as dots, hidden and predicted ones as circles.

    Args:
        axes: show the image.
        keypoints: x, y and visibility: 2 for dots, 1 for circles, 0 for those that are not drawn.
        bones: pairs of keypoints that a line connects if both are labelled.
        colour: of Matplotlib.
        style: of the lines.
    """
    for points in keypoints.tolist():
        for ends in ([points[end] for end in bone] for bone in bones):
            if all(end[2] for end in ends):
                (x1, y1, _), (x2, y2, _) = ends
                axes.plot([x1, x2], [y1, y2], color=colour, linestyle=style, lw=1.2, path_effects=HALO)
        for x, y, visibility in points:
            if visibility:
                axes.plot(
                    x, y, "o", color=colour, markersize=3.5, markerfacecolor="none" if visibility == 1 else colour,
                    path_effects=HALO,
                )  # fmt: skip
