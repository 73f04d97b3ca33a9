"""Environment FindAndTouch: an agent moves a hand to an object on a board, where only positions matter."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.checked import CheckedArguments

MOVES = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])  # stay, up, down, left, right
HAND, OBJECT = 0, 1  # red and green
CELL = 3  # pixels


class FindAndTouchEnv(CheckedArguments, gym.Env[NDArray[np.uint8], np.int64]):
    """Move a hand on a board until it touches an object.

    The observation is an image (3, size, size), uint8: the hand is a red square of 3x3 pixels, the object a green
    one, blue is empty. The five actions leave the hand where it is or move it by three pixels, up to the border. A
    touch is worth 1 and ends the episode; a step costs 0.02; after ``max_steps`` the episode is truncated. So the best
    mean reward is 1 - 0.02 E[d], d being the city-block distance in squares at the start: 0.84 on a board of 36 pixels,
    0.89 on one of 24.

    Only the positions of the two relative to each other matter, over the whole board: a network must recognise
    positions to solve it; without them an agent can only search.

    Args:
        size: height and width of the board in pixels, a multiple of 3.
        max_steps: length of an episode after which it is truncated.
        render_mode: ``"rgb_array"`` or none.

    Raises:
        ValueError: if squares of 3x3 pixels do not tile the board, or there are fewer than two in a row.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  # as gymnasium declares it

    def __init__(self, size: int = 36, max_steps: int = 50, render_mode: str | None = None) -> None:
        check_at_least(1, size=size)
        check_at_least(1, max_steps=max_steps)
        if size % CELL or size < 2 * CELL:
            raise ValueError(f"size must be a multiple of {CELL} and at least {2 * CELL}, got {size}")
        self.cells = size // CELL
        self.max_steps = max_steps
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (3, size, size), np.uint8)
        self.action_space = spaces.Discrete(len(MOVES))
        self.hand = np.zeros(2, np.int64)
        self.object = np.zeros(2, np.int64)
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Put the hand and the object on two different squares."""
        super().reset(seed=seed)
        squares = self.np_random.choice(self.cells**2, 2, replace=False)
        self.hand, self.object = np.stack(np.divmod(squares, self.cells), axis=1)
        self.steps = 0
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Move the hand."""
        self.hand = np.clip(self.hand + MOVES[action], 0, self.cells - 1)
        self.steps += 1
        touched = bool((self.hand == self.object).all())
        reward = float(touched) - 0.02
        return self._observe(), reward, touched, not touched and self.steps >= self.max_steps, {}

    def render(self) -> NDArray[np.uint8]:
        """Return the board, eight times as large, (8 size, 8 size, 3)."""
        return self._observe().transpose(1, 2, 0).repeat(8, axis=0).repeat(8, axis=1)

    def _observe(self) -> NDArray[np.uint8]:
        image = np.zeros(self.observation_space.shape or (), np.uint8)
        for channel, (row, column) in ((HAND, self.hand * CELL), (OBJECT, self.object * CELL)):
            image[channel, row : row + CELL, column : column + CELL] = 255
        return image
