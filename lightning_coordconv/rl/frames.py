"""Function that plays an episode of an agent and yields its rendered frames, and the error if none can be rendered."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from lightning_coordconv.rl.evaluation import start_games
from lightning_coordconv.rl.saliency import Image, check_images, overlay, saliency


class CannotRenderError(RuntimeError):
    """An environment does not return frames."""


def play_frames(
    policy: Any, env: Any, deterministic: bool, max_steps: int, with_saliency: bool = False
) -> Iterator[tuple[Image, float]]:
    """Play an episode and yield its frames (H, W, 3), uint8, each with the reward so far; the last frame twice.

    Args:
        policy: an actor-critic policy of Stable-Baselines3.
        env: a vector of monitored environments, of which the first is seen.
        deterministic: whether to take the most probable action instead of sampling one.
        max_steps: longest episode, in steps of the environment.
        with_saliency: whether pixels turn red by how much the probability of the chosen action depends on them.

    Raises:
        CannotRenderError: if the environment returns no frames.
        ValueError: for the saliency of observations that are no images.
    """
    if with_saliency:
        check_images(policy)
    observations, reward = start_games(env), 0.0
    for _ in range(max_steps):
        frame = _render(env)
        actions, _ = policy.predict(observations, deterministic=deterministic)
        if with_saliency:
            frame = overlay(frame, saliency(policy, observations[:1], actions[:1]))
        yield frame, reward
        observations, _, _, infos = env.step(actions)
        over = infos[0].get("episode")
        reward = over["r"] if over else float(sum(env.get_attr("rewards", 0)[0]))  # of the monitor: raw, since reset
        if over:
            break
    yield frame, reward


def _render(env: Any) -> Image:
    """Return the first environment's frame (H, W, 3), uint8."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SB3 warns and returns no image
            frame: Any = env.get_images()[0]
    except Exception as error:  # of the environment's own code
        raise CannotRenderError(f"{type(error).__name__}: {error}") from error
    if frame is None and env.render_mode is None:
        raise CannotRenderError(
            "its render_mode is None: its metadata['render_modes'] must have 'rgb_array', and the registered class or "
            "function must take the argument render_mode"
        )
    if isinstance(frame, str):  # the reason, from another process
        raise CannotRenderError(frame)
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        shown = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise CannotRenderError(f"render() returned {shown}, not an image (H, W, 3) of uint8")
    return frame
