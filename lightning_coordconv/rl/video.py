"""Callback that records videos of an agent's episodes after validations and with predictions."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from lightning_coordconv.core.checked import CheckedArguments
from lightning_coordconv.core.counts import count
from lightning_coordconv.core.predictions import WritesPredictions
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.rl.environments.vector import frames_per_second
from lightning_coordconv.rl.evaluation import seeded
from lightning_coordconv.rl.frames import CannotRenderError, play_frames
from lightning_coordconv.rl.precision import policy_calls
from lightning_coordconv.rl.ranges import check_ranges
from lightning_coordconv.rl.video_files import write_video


class AgentVideo(CheckedArguments, WritesPredictions):
    """Write an episode as mp4: ``videos/<steps>.mp4`` after validations, ``agent.mp4`` with each prediction.

    The files are written beside the logs. A video shows the first episode of the validation, or the first in
    ``predictions.csv``: a whole game, where a lost life ends an episode of training. Random states of training are
    kept. An environment that cannot be rendered is reported once; the run continues without videos.

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

    def state_dict(self) -> dict[str, Any]:
        """Return the number of validations, so that a resumed run records the same ones."""
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue to count."""
        self.validations = state_dict["validations"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record an episode during training."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not self.every_n_validations:
            return
        self.validations += 1
        if self.validations % self.every_n_validations == 0:
            self._record(trainer, pl_module, "val", f"videos/{int(trainer.callback_metrics['val/timesteps'])}.mp4")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record an episode of a trained agent."""
        self._record(trainer, pl_module, "predict", "agent.mp4")

    def _record(self, trainer: Trainer, task: Any, stage: str, name: str) -> None:
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # all ranks must ask for it
        if not trainer.is_global_zero or not self.renders:
            return
        data = data_module(trainer)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        steps, seed = min(self.max_steps, data.max_eval_steps), data.evaluation_seed(stage)
        playing = policy_calls(task.device)
        with playing, seeded(data.eval_env, seed), torch.inference_mode(False), torch.no_grad():
            try:
                episode = play_frames(task.policy, data.eval_env, task.deterministic_evaluation, steps, self.saliency)
                frames, reward = write_video(path, episode, self.fps or frames_per_second(data.spec, data.eval_env))
            except CannotRenderError as error:
                self.renders = False
                path.unlink(missing_ok=True)
                rank_zero_warn(f"no videos are recorded: the environment {data.env_id} cannot be rendered: {error}")
                return
        rank_zero_info(f"Wrote {count(frames, 'frame')} with the reward {reward:g} to {path}")
