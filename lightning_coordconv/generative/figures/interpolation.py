"""Latent vectors turning into others: do objects move, or fade?"""

from typing import Any

from pytorch_lightning import Callback, Trainer

from lightning_coordconv.core.figures import grid, log_folder, save_gif, save_pictures


class Interpolation(Callback):
    """Draw the ways between fixed latent vectors after a test.

    ``figures/interpolation.png``: a row is a way, a column a step on it; ``figures/interpolation.gif``: all ways at
    once, moving.

    Args:
        count: number of ways, at most 32.
        frames: steps on each, ends included.
    """

    def __init__(self, count: int = 8, frames: int = 16) -> None:
        self.count = count
        self.frames = frames

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Generate and draw them."""
        folder = log_folder(trainer)
        if folder is None:
            return
        paths = pl_module.paths(self.count, self.frames)
        save_pictures(trainer, folder, "test", {"interpolation": grid(paths.flatten(0, 1), self.frames)})
        save_gif(folder / "figures" / "interpolation.gif", [grid(frame, 4) for frame in paths.unbind(1)])
