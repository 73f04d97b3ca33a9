"""Callback that records videos of agents, and functions that play frames, overlay saliency and write mp4 files."""

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
from pytorch_lightning.utilities.seed import isolate_rng
from torch.nn import functional as F

from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.predictions import WritesPredictions
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.rl.environments.vector import frames_per_second
from lightning_coordconv.rl.ranges import check_ranges

with extra("rl", "videos"):
    import imageio_ffmpeg

Image = NDArray[np.uint8]
SMALLEST = 120
"""Smallest height and width of a video, in pixels."""


class CannotRenderError(RuntimeError):
    """An environment does not return frames."""


class AgentVideo(WritesPredictions):
    """Write an episode as mp4: ``videos/<steps>.mp4`` after validations, ``agent.mp4`` with each prediction.

    The files are written beside the logs. An episode is a whole game, where a lost life ends an episode of training.
    Random states of training are kept. An environment that cannot be rendered is reported once; the run continues
    without videos.

    Args:
        max_steps: longest video, in steps of the environment.
        fps: frames a second; by default ``metadata["render_fps"]`` of the environment, or 15 if it has none. It is 15
            for Atari games too: of 60 screens a second an agent sees every fourth.
        saliency: whether pixels turn red by how much the probability of the chosen action depends on them.
        every_n_validations: how often to record during training; never if 0.

    Raises:
        ValueError: for a number that is out of its range.
    """

    outputs = ("agent.mp4",)

    def __init__(
        self, max_steps: int = 2000, fps: int | None = None, saliency: bool = False, every_n_validations: int = 1
    ) -> None:
        check_ranges(max_steps=max_steps, fps=fps, every_n_validations=every_n_validations)
        self.max_steps = max_steps
        self.fps = fps
        self.saliency = saliency
        self.every_n_validations = every_n_validations
        self.validations = 0
        self.renders = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record an episode during training."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not self.every_n_validations:
            return
        self.validations += 1
        if self.validations % self.every_n_validations == 0:
            self._record(trainer, pl_module, f"videos/{int(trainer.callback_metrics['val/timesteps'])}.mp4")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record an episode of a trained agent."""
        self._record(trainer, pl_module, "agent.mp4")

    def _record(self, trainer: Trainer, task: Any, name: str) -> None:
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # all ranks must ask for it
        if not trainer.is_global_zero or not self.renders:
            return
        data = data_module(trainer)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with isolate_rng(), torch.inference_mode(False), torch.no_grad():
            torch.manual_seed(data.seed)
            data.eval_env.seed(data.seed)
            try:
                episode = play_frames(
                    task.policy, data.eval_env, task.deterministic_evaluation, self.max_steps, self.saliency
                )
                frames, reward = write_video(path, episode, self.fps or frames_per_second(data.spec))
            except CannotRenderError as error:
                self.renders = False
                rank_zero_warn(f"no videos are recorded: the environment {data.env_id} cannot be rendered: {error}")
                return
        rank_zero_info(f"Wrote {frames} frames with the reward {reward:g} to {path}")


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
    """
    observations, reward = env.reset(), 0.0
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
    if isinstance(frame, str):  # the reason, from another process
        raise CannotRenderError(frame)
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        shown = f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise CannotRenderError(f"render() returned {shown}, not an image (H, W, 3) of uint8")
    return frame


def saliency(policy: Any, observation: Image, action: NDArray[Any]) -> Image:
    """Return how much the probability of an action depends on each pixel (Simonyan et al., 2014).

    It is the gradient of the log-probability: the largest magnitude over channels, scaled such that the strongest
    hundredth of the pixels is at 255.

    Args:
        policy: an actor-critic policy of Stable-Baselines3 for images.
        observation: (1, C, H, W), uint8.
        action: (1, ...).

    Returns:
        (H, W), uint8 in [0, 255].
    """
    with torch.enable_grad():
        pixels = torch.as_tensor(observation, device=policy.device).float().requires_grad_()
        _, log_prob, _ = policy.evaluate_actions(pixels, torch.as_tensor(action, device=policy.device))
        (gradient,) = torch.autograd.grad(log_prob.sum(), pixels)
    strength = gradient[0].abs().amax(0)
    top = strength.flatten().quantile(0.99).clamp(min=torch.finfo(strength.dtype).tiny)
    heat: Image = (strength / top).clamp(max=1).mul(255).byte().cpu().numpy()
    return heat


def overlay(frame: Image, heat: Image) -> Image:
    """Return a frame (H, W, 3) in grey, with red where the heat (h, w) is high."""
    scaled = F.interpolate(torch.from_numpy(heat)[None, None].float(), frame.shape[:2], mode="bilinear")[0, 0]
    mixed = frame.mean(2, keepdims=True).repeat(3, axis=2) * 0.7
    mixed[..., 0] = np.maximum(mixed[..., 0], scaled.numpy())
    return mixed.astype(np.uint8)


def enlarged(frame: Image) -> Image:
    """Return a frame (H, W, 3), enlarged by a whole factor if a side is shorter than 120 pixels."""
    factor = -(-SMALLEST // min(frame.shape[:2]))
    return frame.repeat(factor, axis=0).repeat(factor, axis=1)


def write_video(path: Path, frames: Iterator[tuple[Image, float]], fps: float) -> tuple[int, float]:
    """Write a video frame by frame, and return the number of frames and the last reward."""
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
            writer.send(np.ascontiguousarray(frame))
            count, reward = count + 1, score
    finally:
        writer.close()
    return count, reward
