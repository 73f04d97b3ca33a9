"""Gymnasium environment of MinAtar's five games on boards of 10x10 cells (Young and Tian, 2019)."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.extras import extra

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
SCALE = 16  # pixels a cell in a rendered frame


class MinAtarEnv(CheckedArguments, gym.Env[NDArray[np.uint8], np.int64]):
    """A game of the package ``minatar``, as Gymnasium has environments.

    The observation is an image (C, 10, 10), uint8 in {0, 255}: one channel for each kind of object, 4 to 10 of them.
    The actions are those that the game uses. As published, an action is repeated in place of the chosen one with a
    probability of 0.1, and games get harder with time.

    Args:
        game: one of :data:`GAMES`.
        max_steps: length of an episode in steps after which it is truncated; MinAtar has no limit itself, and a game
            of Freeway ends after 2,500 steps.
        render_mode: ``"rgb_array"`` or none.
        **options: ``sticky_action_prob`` and ``difficulty_ramping`` of ``minatar.Environment``.

    Raises:
        ValueError: for an unknown game.
        ModuleNotFoundError: without the package ``minatar``.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012  # as gymnasium declares it

    def __init__(self, game: str, max_steps: int = 5000, render_mode: str | None = None, **options: Any) -> None:
        if game not in GAMES:
            raise ValueError(f"game must be one of {GAMES}, got {game!r}")
        with extra("minatar", "MinAtar's games"):
            from minatar import Environment  # type: ignore[import-not-found,unused-ignore]  # it has no types
        self.max_steps = max_steps
        self.render_mode = render_mode
        self.game = Environment(game, **options)
        self.actions = self.game.minimal_action_set()
        height, width, channels = self.game.state_shape()
        self.observation_space = spaces.Box(0, 255, (channels, height, width), np.uint8)
        self.action_space = spaces.Discrete(len(self.actions))
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Start a game."""
        super().reset(seed=seed)
        if seed is not None:
            self.game.seed(seed)
        self.game.reset()
        self.game.last_action = 0  # MinAtar would repeat the last action of the game before
        self.steps = 0
        return self._observe(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Take an action."""
        reward, terminated = self.game.act(self.actions[action])
        self.steps += 1
        truncated = not terminated and self.steps >= self.max_steps
        return self._observe(), float(reward), bool(terminated), truncated, {}

    def render(self) -> NDArray[np.uint8]:
        """Return the board (160, 160, 3), with a shade for each kind of object."""
        state = self.game.state()
        kinds = np.where(state.any(2), state.argmax(2) + 1, 0)
        shades = (kinds * (255 // state.shape[2])).astype(np.uint8)
        return np.stack([shades, 255 - shades, shades], axis=2).repeat(SCALE, axis=0).repeat(SCALE, axis=1)

    def _observe(self) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self.game.state().transpose(2, 0, 1), np.uint8) * np.uint8(255)
