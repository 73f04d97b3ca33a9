"""Buffer of the last frames of several environments, ordered and laid out as by Stable-Baselines3's VecFrameStack."""

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]


class FrameStack:
    """The last frames of some environments: the oldest first, zeros before the start of an episode.

    Observations have the shape (n_envs, n_stack, size, size) and the memory layout of SB3's, with the frames last: the
    layout decides the order in which a convolution sums.

    Args:
        n_envs: number of environments.
        n_stack: number of frames.
        size: height and width of a frame in pixels.
    """

    def __init__(self, n_envs: int, n_stack: int, size: int) -> None:
        self.frames = np.zeros((n_envs, n_stack, size, size), np.uint8)

    def reset(self, env: int, frame: Frame) -> None:
        """Start an episode with a frame (size, size)."""
        self.frames[env] = 0
        self.frames[env, -1] = frame

    def push(self, env: int, frame: Frame) -> None:
        """Add a frame (size, size) and drop the oldest."""
        self.frames[env, :-1] = self.frames[env, 1:]
        self.frames[env, -1] = frame

    def observation(self, env: int) -> Frame:
        """Return the frames of one environment."""
        return self._interleave(self.frames[env : env + 1])[0]

    def observations(self) -> Frame:
        """Return the frames of all environments."""
        return self._interleave(self.frames)

    def _interleave(self, frames: Frame) -> Frame:
        n_envs, n_stack, height, width = frames.shape
        interleaved = np.empty((n_envs, height, width, n_stack), np.uint8)
        for source, target in zip(frames, interleaved, strict=True):
            cv2.merge(source, target)
        return interleaved.transpose(0, 3, 1, 2)
