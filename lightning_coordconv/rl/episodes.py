"""Classes of what an agent has played: an episode, to draw and to film, and an evaluation over several."""

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lightning_coordconv.core.counts import count
from lightning_coordconv.core.pictures import grid
from lightning_coordconv.core.pictures import to_image as to_pillow
from lightning_coordconv.core.predictor import Result, writing
from lightning_coordconv.rl.video_files import enlarged, write_video

SHOWN = 16
"""Number of frames in the picture of an episode."""


class Evaluation(NamedTuple):
    """Rewards, lengths (in steps, of Atari games in screens) and number cut at ``max_eval_steps`` of episodes."""

    rewards: list[float]
    lengths: list[int]
    cut: int

    @property
    def mean(self) -> float:
        """The mean reward."""
        return statistics.fmean(self.rewards)

    @property
    def deviation(self) -> float:
        """The standard deviation of the reward over the episodes."""
        return statistics.pstdev(self.rewards)


@dataclass(frozen=True, repr=False)
class Episode(Result):
    """An episode that an agent played.

    Attributes:
        frames: (T, H, W, 3), uint8, one for each step, and the last one again.
        reward: the sum of the rewards.
        fps: frames a second of the video.
    """

    frames: NDArray[np.uint8]
    reward: float
    fps: float

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"{count(len(self), 'frame')}, reward {self.reward:g}"

    def draw(self) -> Image.Image:
        """Draw some of the frames, from the first to the last."""
        chosen = np.linspace(0, len(self) - 1, min(SHOWN, len(self))).round().astype(int)
        frames = torch.from_numpy(self.frames[chosen]).permute(0, 3, 1, 2)
        return to_pillow(grid(frames / 127.5 - 1, 4))

    def save(self, path: str | Path) -> Path:
        """Write a video to ``.mp4``, an animation to ``.gif``, or a picture of some frames; return the path.

        An animation counts in hundredths of a second, and has at most 50 frames a second: browsers slow down more.

        Raises:
            OSError: naming the path, if it cannot be written or has the suffix of no known format.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in (".mp4", ".gif"):
            return super().save(path)
        with writing(path) as target:
            if suffix == ".mp4":
                target.open("wb").close()  # the encoder's own process would report a folder that cannot be written
                write_video(target, ((frame, self.reward) for frame in self.frames), self.fps)
            else:
                first, *others = map(Image.fromarray, map(enlarged, self.frames))
                milliseconds = 10 * max(2, round(100 / self.fps))
                first.save(target, save_all=True, append_images=others, duration=milliseconds, loop=0)
        return target
