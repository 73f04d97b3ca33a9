"""A2C and PPO of Stable-Baselines3 as Lightning tasks."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_coordconv.core.extras import extra
from lightning_coordconv.rl.on_policy import OnPolicyTask, Scheduled, schedule
from lightning_coordconv.rl.task import class_names

with extra("rl", "agents"):
    import stable_baselines3 as sb3
    from stable_baselines3.common.type_aliases import RolloutBufferSamples


class A2C(OnPolicyTask):
    """Advantage actor-critic (Mnih et al., 2016; synchronous), as Stable-Baselines3 has it.

    A rollout is one batch, so an optimiser step takes ``n_envs * n_steps`` environment steps. The arguments are SB3's;
    see :class:`OnPolicyTask` for those that are not.

    Args:
        total_timesteps: steps in all environments after which the run ends.
        policy: ``"CnnPolicy"`` or ``"MlpPolicy"``.
        policy_kwargs: as SB3 has them.
        learning_rate: a number, or the first and the last of a linear schedule.
        n_steps: steps of each environment in a rollout.
        gamma: discount.
        gae_lambda: bias against variance of the advantages; 1 is the classic estimate.
        ent_coef: weight of the entropy in the loss.
        vf_coef: weight of the critic's loss.
        max_grad_norm: to which gradients are scaled down.
        rms_prop_eps: of RMSprop.
        use_rms_prop: RMSprop in place of Adam, unless ``policy_kwargs`` has an ``optimizer_class``.
        normalize_advantage: whether advantages are normalised, over the batches of all ranks.
        initial_weights: an SB3 zip.
        deterministic_evaluation: whether evaluation takes the most probable action.
        channels_last: the layout of weights in memory.
    """

    def __init__(
        self,
        total_timesteps: int,
        policy: str = "CnnPolicy",
        policy_kwargs: dict[str, Any] | None = None,
        learning_rate: Scheduled = 7e-4,
        n_steps: int = 5,
        gamma: float = 0.99,
        gae_lambda: float = 1.0,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        rms_prop_eps: float = 1e-5,
        use_rms_prop: bool = True,
        normalize_advantage: bool = False,
        initial_weights: str | None = None,
        deterministic_evaluation: bool = False,
        channels_last: bool = False,
    ) -> None:
        policy_kwargs = class_names(policy_kwargs)
        arguments = {
            "n_steps": n_steps,
            "gamma": gamma,
            "gae_lambda": gae_lambda,
            "ent_coef": ent_coef,
            "vf_coef": vf_coef,
            "rms_prop_eps": rms_prop_eps,
            "use_rms_prop": use_rms_prop,
            "normalize_advantage": normalize_advantage,
        }
        super().__init__(
            sb3.A2C,
            arguments,
            total_timesteps,
            learning_rate,
            max_grad_norm,
            policy=policy,
            policy_kwargs=policy_kwargs,
            initial_weights=initial_weights,
            deterministic_evaluation=deterministic_evaluation,
            channels_last=channels_last,
        )
        self.normalize_advantage = normalize_advantage

    def losses(self, batch: RolloutBufferSamples, values: Tensor, log_prob: Tensor) -> dict[str, Tensor]:
        """Return ``policy_loss`` and ``value_loss``."""
        advantages = batch.advantages
        if self.normalize_advantage:
            advantages = self.normalise(advantages, everywhere=True)
        return {"policy_loss": -(advantages * log_prob).mean(), "value_loss": F.mse_loss(batch.returns, values)}


class PPO(OnPolicyTask):
    """Proximal policy optimisation (Schulman et al., 2017), as Stable-Baselines3 has it.

    The arguments are SB3's; see :class:`OnPolicyTask` for those that are not. Where ``target_kl`` ends a rollout early,
    an epoch has more rollouts.

    Args:
        total_timesteps: steps in all environments after which the run ends.
        policy: ``"CnnPolicy"`` or ``"MlpPolicy"``.
        policy_kwargs: as SB3 has them.
        learning_rate: a number, or the first and the last of a linear schedule.
        n_steps: steps of each environment in a rollout.
        batch_size: of a minibatch, over all ranks together.
        n_epochs: passes over a rollout.
        gamma: discount.
        gae_lambda: bias against variance of the advantages.
        clip_range: of the ratio of probabilities, a number or a linear schedule.
        clip_range_vf: of changes of the critic, likewise; they aren't clipped if ``None``.
        normalize_advantage: whether the advantages of a minibatch are normalised.
        normalize_globally: whether they are over the minibatch of all ranks, as a single process would, or each rank's.
        ent_coef: weight of the entropy in the loss.
        vf_coef: weight of the critic's loss.
        max_grad_norm: to which gradients are scaled down.
        target_kl: a rollout is left once the mean divergence over all ranks exceeds 1.5 times this.
        initial_weights: an SB3 zip.
        deterministic_evaluation: whether evaluation takes the most probable action.
        channels_last: the layout of weights in memory.
    """

    def __init__(
        self,
        total_timesteps: int,
        policy: str = "CnnPolicy",
        policy_kwargs: dict[str, Any] | None = None,
        learning_rate: Scheduled = 3e-4,
        n_steps: int = 2048,
        batch_size: int = 64,
        n_epochs: int = 10,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: Scheduled = 0.2,
        clip_range_vf: Scheduled | None = None,
        normalize_advantage: bool = True,
        normalize_globally: bool = True,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        target_kl: float | None = None,
        initial_weights: str | None = None,
        deterministic_evaluation: bool = False,
        channels_last: bool = False,
    ) -> None:
        policy_kwargs = class_names(policy_kwargs)
        arguments = {
            "n_steps": n_steps,
            "n_epochs": n_epochs,
            "gamma": gamma,
            "gae_lambda": gae_lambda,
            "clip_range": schedule(clip_range),
            "clip_range_vf": None if clip_range_vf is None else schedule(clip_range_vf),
            "normalize_advantage": normalize_advantage,
            "ent_coef": ent_coef,
            "vf_coef": vf_coef,
            "target_kl": target_kl,
        }
        super().__init__(
            sb3.PPO,
            arguments,
            total_timesteps,
            learning_rate,
            max_grad_norm,
            policy=policy,
            policy_kwargs=policy_kwargs,
            initial_weights=initial_weights,
            deterministic_evaluation=deterministic_evaluation,
            channels_last=channels_last,
        )
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.normalize_advantage = normalize_advantage
        self.normalize_globally = normalize_globally
        self.target_kl = target_kl
        self.too_far = False

    def local_batch_size(self) -> int:
        """Return the size of this rank's minibatches."""
        world_size = self.trainer.world_size if self._trainer is not None else 1
        if self.batch_size % world_size:
            raise ValueError(f"a batch size of {self.batch_size} cannot be divided among {world_size} ranks")
        return self.batch_size // world_size

    def losses(self, batch: RolloutBufferSamples, values: Tensor, log_prob: Tensor) -> dict[str, Tensor]:
        """Return ``policy_loss`` and ``value_loss``, ``approx_kl``, ``clip_fraction`` and ``clip_range``."""
        assert isinstance(self.algorithm, sb3.PPO)
        remaining = self.algorithm._current_progress_remaining
        clip_range = self.algorithm.clip_range(remaining)  # type: ignore[operator]
        advantages = batch.advantages
        if self.normalize_advantage and len(advantages) > 1:
            advantages = self.normalise(advantages, self.normalize_globally)
        ratio = torch.exp(log_prob - batch.old_log_prob)
        clipped = advantages * torch.clamp(ratio, 1 - clip_range, 1 + clip_range)
        if self.algorithm.clip_range_vf is not None:
            limit = self.algorithm.clip_range_vf(remaining)  # type: ignore[operator]
            values = batch.old_values + torch.clamp(values - batch.old_values, -limit, limit)
        with torch.no_grad():
            log_ratio = log_prob - batch.old_log_prob
            approx_kl = torch.mean((torch.exp(log_ratio) - 1) - log_ratio)  # http://joschu.net/blog/kl-approx.html
            approx_kl = self.mean_over_ranks(approx_kl)
        self.too_far = self.target_kl is not None and bool(approx_kl > 1.5 * self.target_kl)
        return {
            "policy_loss": -torch.min(advantages * ratio, clipped).mean(),
            "value_loss": F.mse_loss(batch.returns, values),
            "approx_kl": approx_kl,
            "clip_fraction": ((ratio - 1).abs() > clip_range).float().mean(),
            "clip_range": torch.tensor(clip_range),
        }

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Skip this step and the rest of the rollout if the policy has moved too far; DDP wants a loss all the same."""
        if self.too_far:
            optimizer.zero_grad(set_to_none=True)
            assert self.rollouts is not None
            self.rollouts.abandon()
