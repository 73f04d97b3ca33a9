"""Functions that write frames to an mp4 file, and enlarge small frames."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lightning_coordconv.core.extras import extra
from lightning_coordconv.rl.frames import CannotRenderError
from lightning_coordconv.rl.saliency import Image

with extra("rl", "videos"):
    import imageio_ffmpeg

SMALLEST = 120
"""Smallest height and width of a video, in pixels."""


def enlarged(frame: Image) -> Image:
    """Return a frame (H, W, 3), enlarged by a whole factor if a side is shorter than 120 pixels."""
    factor = -(-SMALLEST // min(frame.shape[:2]))
    return frame.repeat(factor, axis=0).repeat(factor, axis=1)


def write_video(path: Path, frames: Iterator[tuple[Image, float]], fps: float) -> tuple[int, float]:
    """Write a video frame by frame, and return the number of frames and the last reward.

    Raises:
        CannotRenderError: if a frame has another size than the first.
    """
    frames = ((enlarged(frame), reward) for frame, reward in frames)
    first, reward = next(frames)
    # colours are stored at half the resolution, so sizes must be even
    writer = imageio_ffmpeg.write_frames(  # type: ignore[no-untyped-call]
        str(path), first.shape[1::-1], fps=fps, macro_block_size=2, quality=8
    )
    writer.send(None)
    count = 0
    try:
        for frame, score in itertools.chain([(first, reward)], frames):
            if frame.shape != first.shape:
                raise CannotRenderError(f"its frames change their size from {first.shape[:2]} to {frame.shape[:2]}")
            writer.send(np.ascontiguousarray(frame))
            count, reward = count + 1, score
    finally:
        writer.close()
    return count, reward
