"""Base class of A2C and PPO: Stable-Baselines3 collects rollouts, Lightning optimises, distributes and resumes."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn

from lightning_coordconv.core._lightning import is_attached
from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.ranks import gathered
from lightning_coordconv.core.transfers import to_device
from lightning_coordconv.rl import _sb3
from lightning_coordconv.rl.environments.snapshots import NoSnapshotError
from lightning_coordconv.rl.precision import policy_calls
from lightning_coordconv.rl.ranges import check_ranges
from lightning_coordconv.rl.rollouts import Rollouts, minibatches_per_pass
from lightning_coordconv.rl.task import AgentTask

with extra("rl", "agents"):
    from gymnasium import spaces
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
    from stable_baselines3.common.type_aliases import RolloutBufferSamples
    from stable_baselines3.common.utils import LinearSchedule, explained_variance, safe_mean, set_random_seed

Scheduled = float | tuple[float, float]
"""A number, or the first and the last of a linear schedule over ``total_timesteps``."""


class OnPolicyTask(AgentTask):
    """An on-policy algorithm of Stable-Baselines3 under Lightning.

    ``self.algorithm`` is SB3's object, and ``self.policy`` its policy. The algorithm collects rollouts; Lightning
    minimises the loss that a subclass defines, with the policy's optimiser. One process ends with the same weights as
    the algorithm's ``learn``, bit for bit. With several ranks, numbers of environments and batch sizes are totals over
    all ranks, and the initial weights are those of the first.

    Metrics are logged against environment steps, summed over all environments. Names in addition to those of
    :class:`AgentTask`: ``train/loss`` and its terms, ``train/explained_variance``, ``train/learning_rate``,
    ``train/reward`` and ``train/episode_length`` (means over the last 100 episodes of the first rank), ``train/fps``
    (environment steps a second since the start); ``val/timesteps`` (environment steps), and ``val/training_reward``
    (the mean over the last 100 episodes of each rank).

    A checkpoint holds everything the run depends on: weights, optimiser, an unfinished rollout, and the environments if
    they run in this process. With the callback ``RandomState``, which every run of the command line has, a resumed run
    continues bit for bit, from any step.

    Args:
        algorithm: SB3's class.
        arguments: arguments of the algorithm, by SB3's names.
        total_timesteps: environment steps, summed over all environments, after which the run ends, and over which
            schedules run. A resumed run can increase it.
        learning_rate: a number, or the first and the last of a linear schedule.
        max_grad_norm: gradients are scaled down to this norm, unless the trainer has a ``gradient_clip_val``.
        **agent: further arguments of :class:`AgentTask`.

    Raises:
        ValueError: for a number that is out of its range.
    """

    scheduled_hparams: frozenset[str] = frozenset({"learning_rate"})

    def __init__(
        self,
        algorithm: type[OnPolicyAlgorithm],
        arguments: Mapping[str, Any],
        total_timesteps: int,
        learning_rate: Scheduled,
        max_grad_norm: float,
        **agent: Any,
    ) -> None:
        check_ranges(total_timesteps=total_timesteps, learning_rate=learning_rate, max_grad_norm=max_grad_norm)
        arguments = {**arguments, "learning_rate": schedule(learning_rate), "max_grad_norm": max_grad_norm}
        super().__init__(algorithm, arguments, **agent)
        self.total_timesteps = total_timesteps
        self.max_grad_norm = max_grad_norm
        self.n_epochs = 1
        self.rollouts: Rollouts | None = None
        self.saved: Sequence[Mapping[str, Any]] = ()
        self.clock = (0.0, 0)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm, as SB3 does."""
        value = self.max_grad_norm if gradient_clip_val is None else gradient_clip_val
        self.clip_gradients(optimizer, value, gradient_clip_algorithm or "norm")

    def network_for(self, data: BaseDataModule) -> nn.Module:
        """Return the policy's features extractor, for the environments of a data module that was set up for a fit."""
        if self.policy is None:
            env = data.train_env  # type: ignore[attr-defined]  # that of rl.EnvironmentDataModule
            self._build(env.observation_space, env.action_space, env)
        assert self.policy is not None
        return self.policy.features_extractor

    def minibatches_per_rollout(self) -> int:
        """Return the number of optimiser steps for one rollout."""
        assert self.algorithm is not None
        return self.n_epochs * minibatches_per_pass(self.algorithm, self.local_batch_size())

    def next_minibatch(self) -> RolloutBufferSamples:
        """Return the next minibatch of this rank, from a new rollout if the last is used up."""
        assert self.rollouts is not None
        with policy_calls(self.device):
            return self.rollouts.next()

    def on_train_start(self) -> None:
        """Set up the rollouts, from the start or from a checkpoint."""
        algorithm, data = self.algorithm, self.data
        assert algorithm is not None
        algorithm.device = algorithm.rollout_buffer.device = self.device
        _sb3.copy_minibatches_with(algorithm, partial(to_device, device=self.device))
        saved, self.saved = self.saved, ()
        data.seed_training()
        if saved:
            self._resume(saved)
        else:
            if self.global_rank > 0:  # the first rank draws the numbers of a single process
                set_random_seed(data.seed + self.global_rank, using_cuda=self.device.type == "cuda")
            self._start()
        assert self.rollouts is not None
        self.clock = (time.perf_counter(), self.rollouts.timesteps)
        self._stop_when_done()

    def training_step(self, batch: RolloutBufferSamples, batch_idx: int) -> Tensor:
        """Return the loss of a minibatch."""
        assert self.policy is not None
        actions = batch.actions
        if isinstance(self.policy.action_space, spaces.Discrete):
            actions = actions.long().flatten()
        with policy_calls(self.device):
            values, log_prob, entropy = self.policy.evaluate_actions(batch.observations, actions)
            terms = self.losses(batch, values.flatten(), log_prob)
        terms["entropy_loss"] = -torch.mean(-log_prob if entropy is None else entropy)
        # summed in SB3's order
        loss = (
            terms["policy_loss"]
            + self.arguments["ent_coef"] * terms["entropy_loss"]
            + self.arguments["vf_coef"] * terms["value_loss"]
        )
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._log_training({"loss": loss, **terms}, len(log_prob))
        return loss

    def losses(self, batch: RolloutBufferSamples, values: Tensor, log_prob: Tensor) -> dict[str, Tensor]:
        """Return ``policy_loss`` and ``value_loss``, and further terms to log.

        Args:
            batch: the minibatch.
            values: (B,) predictions of the critic.
            log_prob: (B,) log-probabilities of the actions taken, under the current policy.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement losses(batch, values, log_prob)")

    def normalise(self, advantages: Tensor, everywhere: bool) -> Tensor:
        """Return advantages (B,) with mean 0 and deviation 1, over this rank's minibatch or over those of all ranks.

        Raises:
            ValueError: if there is one only, which has no deviation.
        """
        gathered = advantages
        if everywhere and self.trainer.world_size > 1:
            gathered = cast(Tensor, self.all_gather(advantages))
        if gathered.numel() < 2:
            raise ValueError(
                "one step has no deviation to normalise by: raise n_steps, or turn off normalize_advantage"
            )
        return (advantages - gathered.mean()) / (gathered.std() + 1e-8)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the run with the last minibatch of the rollout that completes ``total_timesteps``."""
        self._stop_when_done()

    def validation_step(self, episodes: int, batch_idx: int) -> None:
        """Play episodes and log their mean reward, against environment steps."""
        super().validation_step(episodes, batch_idx)
        if self.rollouts is not None:
            assert self.algorithm is not None
            numbers = {"val/timesteps": float(self.rollouts.timesteps)}
            rewards = [episode["r"] for episode in self.algorithm.ep_info_buffer or ()]
            sums = torch.tensor([float(sum(rewards)), float(len(rewards))], device=self.device)
            total, count = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
            numbers["val/training_reward"] = total / count if count else float("nan")
            self.log_dict(numbers, batch_size=1, sync_dist=True)
            self._log_step(1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the spaces, and the state of each rank's rollouts and environments."""
        super().on_save_checkpoint(checkpoint)
        if self.rollouts is not None:
            data = self.data
            mine = {"rollouts": self.rollouts.state_dict(), "environments": data.snapshot()}
            checkpoint["ranks"] = gathered(mine)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check the spaces, and keep the state of the ranks until training starts.

        Outside a fit only the count of steps is restored, from which a zip of the algorithm counts on.
        """
        super().on_load_checkpoint(checkpoint)
        ranks = checkpoint.get("ranks", ())
        if is_attached(self) and self.trainer.state.fn == TrainerFn.FITTING:
            self.saved = ranks
        elif ranks:
            assert self.algorithm is not None
            self.algorithm.num_timesteps = ranks[0]["rollouts"]["num_timesteps"] * len(ranks)

    def _start(self) -> None:
        assert self.algorithm is not None
        callback = _sb3.begin_learning(self.algorithm, self.total_timesteps)
        world_size = self.trainer.world_size
        self.rollouts = Rollouts(
            self.algorithm, callback, self.total_timesteps, world_size, self.n_epochs, self.local_batch_size()
        )

    def _resume(self, saved: Sequence[Mapping[str, Any]]) -> None:
        data = self.data
        same = len(saved) == self.trainer.world_size
        mine = saved[self.global_rank if same else 0]
        with isolate_rng():  # the first reset can draw from the global generators, which are restored already
            self._start()
        assert self.algorithm is not None
        assert self.rollouts is not None
        if same:
            self.rollouts.load_state_dict(mine["rollouts"])
        else:
            rank_zero_warn(
                f"the checkpoint was written by {len(saved)} ranks and this run has {self.trainer.world_size}: it "
                "continues with the weights and the count of steps, but environments and random numbers start anew"
            )
            self.algorithm.num_timesteps = mine["rollouts"]["num_timesteps"] * len(saved) // self.trainer.world_size
            self.rollouts.update_progress()
            set_random_seed(data.seed + self.rollouts.timesteps + self.global_rank)
        if same:
            try:
                data.restore(mine["environments"])
                return
            except NoSnapshotError as error:
                rank_zero_warn(f"{error}: the environments start anew")
        data.seed_training(shift=self.rollouts.timesteps)
        _sb3.reset_environments(self.algorithm)

    def _stop_when_done(self) -> None:
        assert self.rollouts is not None
        if self.rollouts.finished and self.rollouts.timesteps >= self.total_timesteps:
            self.trainer.should_stop = True

    def _log_training(self, terms: Mapping[str, Tensor], samples: int) -> None:
        assert self.algorithm is not None
        assert self.rollouts is not None
        buffer, episodes = self.algorithm.rollout_buffer, self.algorithm.ep_info_buffer
        start, timesteps = self.clock
        numbers: dict[str, Any] = {name: term.detach() for name, term in terms.items()}
        numbers["explained_variance"] = float(explained_variance(buffer.values.flatten(), buffer.returns.flatten()))
        numbers["learning_rate"] = self.algorithm.policy.optimizer.param_groups[0]["lr"]
        if episodes:
            numbers["episode_length"] = safe_mean([episode["l"] for episode in episodes])
        self.log_dict({f"train/{name}": number for name, number in numbers.items()}, batch_size=samples)
        shown = {"train/fps": (self.rollouts.timesteps - timesteps) / (time.perf_counter() - start)}
        if episodes:
            shown["train/reward"] = safe_mean([episode["r"] for episode in episodes])
        self.log_dict(shown, prog_bar=True, batch_size=samples)
        self._log_step(samples)

    def _log_step(self, samples: int) -> None:
        """Make environment steps the horizontal axis of what is logged now, in place of optimiser steps."""
        assert self.rollouts is not None
        steps = torch.tensor(self.rollouts.timesteps, dtype=torch.float64)
        self.log("step", steps, batch_size=samples, sync_dist=True)


def schedule(value: Scheduled) -> float | LinearSchedule:
    """Return SB3's form of a number, or of the first and the last of a linear schedule."""
    return value if isinstance(value, float | int) else LinearSchedule(*value, end_fraction=1.0)
