"""Draw an image with its class."""

from matplotlib.figure import Figure
from torch import Tensor


def draw_labelled(image: Tensor, title: str) -> Figure:
    """Draw an image (C, H, W) in [0, 1], grey or RGB, under a title."""
    figure = Figure(figsize=(3, 3), layout="constrained")
    axes = figure.subplots()
    axes.imshow(image.clamp(0, 1).permute(1, 2, 0).cpu().numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, parse_math=False)
    axes.set_axis_off()
    return figure
