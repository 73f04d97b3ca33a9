"""Callback that draws, after a test, images between pairs of latent vectors, as a picture and an animated GIF."""

from typing import Any

from pytorch_lightning import Callback, Trainer

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.figures import figures_folder, save_pictures
from lightning_coordconv.core.pictures import grid, save_gif
from lightning_coordconv.generative.latents import FIXED_LATENTS


class Interpolation(CheckedArguments, Callback):
    """Draw interpolations between fixed latent vectors after a test.

    ``figures/interpolation.png`` has a row for each interpolation and a column for each frame;
    ``figures/interpolation.gif`` shows all interpolations at once, animated.

    Args:
        count: number of interpolations, from 1 to 32.
        frames: images in each, both ends included; at least 2.

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(self, count: int = 8, frames: int = 16) -> None:
        if not 1 <= count <= FIXED_LATENTS // 2:
            raise ValueError(f"count must be from 1 to {FIXED_LATENTS // 2}, got {count}")
        if frames < 2:
            raise ValueError(f"frames must be at least 2, got {frames}")
        self.count = count
        self.frames = frames

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Generate and draw the interpolations."""
        folder = figures_folder(trainer)
        if folder is None:
            return
        paths = pl_module.paths(self.count, self.frames)
        save_pictures(trainer, folder, "test", {"interpolation": grid(paths.flatten(0, 1), self.frames)})
        save_gif(folder / "figures" / "interpolation.gif", [grid(frame, 4) for frame in paths.unbind(1)])
