"""Functions that convert tensors and figures to Pillow images, lay out images in a grid, and write animated GIFs."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

DPI = 120
"""Pixels in an inch of a figure."""
SIDE = 600
"""Least width in pixels of grids and animations, to which small images are enlarged."""


def save_gif(path: Path, frames: Sequence[Tensor]) -> None:
    """Write frames (3, H, W), uint8, as an endless animation, forwards and then backwards, ten frames a second."""
    forwards = [to_image(frame) for frame in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    forwards[0].save(path, save_all=True, append_images=forwards[1:] + forwards[-2:0:-1], duration=100, loop=0)


def grid(images: Tensor, columns: int = 8) -> Tensor:
    """Lay out images (B, C, H, W) in [-1, 1] as one image (3, H', W'), uint8, at least 600 pixels wide."""
    laid_out = make_grid(images.float().cpu(), columns, padding=1, normalize=True, value_range=(-1, 1), pad_value=0.5)
    scale = -(-SIDE // laid_out.shape[-1])
    return to_bytes(2 * laid_out - 1).repeat_interleave(scale, 1).repeat_interleave(scale, 2)


def to_bytes(images: Tensor) -> Tensor:
    """Convert images in [-1, 1] to uint8."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def legend_label(name: str) -> str:
    """Return a name for a legend, from which Matplotlib would leave out one that begins with an underscore."""
    return f" {name}" if name.startswith("_") else name


def show_names(legend: Legend) -> None:
    """Let a legend show names as they are, where Matplotlib would read dollar signs as those of a formula."""
    for text in legend.get_texts():
        text.set_parse_math(False)


def to_picture(figure: Figure) -> Image.Image:
    """Convert a figure to a Pillow image. Needs no display."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png")
    return Image.open(buffer).convert("RGB")


def to_image(image: Tensor) -> Image.Image:
    """Convert an image (C, H, W) of uint8, with 1 or 3 channels, to a Pillow image."""
    return Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy())
