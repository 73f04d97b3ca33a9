"""The tasks A2C and PPO, which train agents by the algorithms of Stable-Baselines3 under Lightning.

Both constructors list their arguments in full, though half of them are common: editors and the reference show only what
a signature names.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_coordconv.core._lightning import is_attached
from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.transfers import LateRead
from lightning_coordconv.rl import _sb3
from lightning_coordconv.rl.classes import PolicyArguments
from lightning_coordconv.rl.on_policy import OnPolicyTask, Scheduled, schedule
from lightning_coordconv.rl.ranges import check_ranges

with extra("rl", "agents"):
    import stable_baselines3 as sb3
    from stable_baselines3.common.type_aliases import RolloutBufferSamples


class A2C(OnPolicyTask):
    """Advantage actor-critic (Mnih et al., 2016; synchronous), as Stable-Baselines3 implements it.

    A rollout is one batch, so an optimiser step uses ``n_envs * n_steps`` environment steps. The arguments are SB3's;
    :class:`OnPolicyTask` and :class:`~lightning_coordconv.rl.task.AgentTask` describe the others.

    Args:
        total_timesteps: environment steps, summed over all environments, after which the run ends.
        policy: ``"CnnPolicy"``, ``"MlpPolicy"`` or ``"MultiInputPolicy"``.
        policy_kwargs: arguments of SB3's policy.
        learning_rate: a number, or the first and the last of a linear schedule.
        n_steps: steps of each environment in a rollout.
        gamma: discount, in [0, 1].
        gae_lambda: trade-off between bias (0) and variance (1) of the advantages; 1 is the classic estimate.
        ent_coef: weight of the entropy in the loss.
        vf_coef: weight of the critic's loss.
        max_grad_norm: gradients are scaled down to this norm.
        rms_prop_eps: epsilon of RMSprop.
        use_rms_prop: RMSprop instead of Adam, unless ``policy_kwargs`` has an ``optimizer_class``.
        normalize_advantage: whether advantages are normalised, over the batches of all ranks.
        initial_weights: an SB3 zip with initial weights.
        deterministic_evaluation: whether evaluation takes the most probable action.
        compile: compile the policy's feature extractors with ``torch.compile``.
        channels_last: keep the policy's weights in the memory format channels last.
    """

    def __init__(
        self,
        total_timesteps: int,
        policy: str = "CnnPolicy",
        policy_kwargs: PolicyArguments | None = None,
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
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        numbers = {
            "n_steps": n_steps,
            "gamma": gamma,
            "gae_lambda": gae_lambda,
            "ent_coef": ent_coef,
            "vf_coef": vf_coef,
            "rms_prop_eps": rms_prop_eps,
        }
        check_ranges(**numbers)
        given = policy_kwargs or {}
        if use_rms_prop and "optimizer_kwargs" in given and "optimizer_class" not in given:  # SB3 would replace them
            raise ValueError(
                "policy_kwargs.optimizer_kwargs needs optimizer_class or use_rms_prop=False: by default A2C has "
                f"RMSprop, whose only option is rms_prop_eps, got {given['optimizer_kwargs']!r}"
            )
        super().__init__(
            sb3.A2C,
            {**numbers, "use_rms_prop": use_rms_prop, "normalize_advantage": normalize_advantage},
            total_timesteps,
            learning_rate,
            max_grad_norm,
            policy=policy,
            policy_kwargs=policy_kwargs,
            initial_weights=initial_weights,
            deterministic_evaluation=deterministic_evaluation,
            compile=compile,
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
    """Proximal policy optimisation (Schulman et al., 2017), as Stable-Baselines3 implements it.

    The arguments are SB3's; :class:`OnPolicyTask` and :class:`~lightning_coordconv.rl.task.AgentTask` describe the
    others. Where ``target_kl`` ends rollouts early, an epoch has more of them.

    With ``target_kl`` the host must know the divergence before each optimiser step, as in SB3: the minibatch that
    exceeds the limit is not learned from, and the rest of the rollout is skipped. On a GPU the answer is copied to
    pinned memory right after the forward pass and read after the backward pass has been queued, so the host waits but
    the GPU does not. Without ``target_kl``, the default, a step reads nothing from the device.

    Args:
        total_timesteps: environment steps, summed over all environments, after which the run ends.
        policy: ``"CnnPolicy"``, ``"MlpPolicy"`` or ``"MultiInputPolicy"``.
        policy_kwargs: arguments of SB3's policy.
        learning_rate: a number, or the first and the last of a linear schedule.
        n_steps: steps of each environment in a rollout.
        batch_size: size of a minibatch, summed over all ranks; at most ``n_envs * n_steps``.
        n_epochs: passes over a rollout.
        gamma: discount, in [0, 1].
        gae_lambda: trade-off between bias (0) and variance (1) of the advantages.
        clip_range: limit of the change of the ratio of probabilities, a number or a linear schedule.
        clip_range_vf: limit of the change of the critic's predictions, likewise; no limit if ``None``.
        normalize_advantage: whether the advantages of a minibatch are normalised.
        normalize_globally: whether they are normalised over the minibatches of all ranks, as one process would.
        ent_coef: weight of the entropy in the loss.
        vf_coef: weight of the critic's loss.
        max_grad_norm: gradients are scaled down to this norm.
        target_kl: a rollout is left as soon as the mean divergence over all ranks exceeds 1.5 times this value.
        initial_weights: an SB3 zip with initial weights.
        deterministic_evaluation: whether evaluation takes the most probable action.
        compile: compile the policy's feature extractors with ``torch.compile``.
        channels_last: keep the policy's weights in the memory format channels last.
    """

    def __init__(
        self,
        total_timesteps: int,
        policy: str = "CnnPolicy",
        policy_kwargs: PolicyArguments | None = None,
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
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        numbers = {
            "n_steps": n_steps,
            "n_epochs": n_epochs,
            "gamma": gamma,
            "gae_lambda": gae_lambda,
            "ent_coef": ent_coef,
            "vf_coef": vf_coef,
            "target_kl": target_kl,
        }
        check_ranges(**numbers, batch_size=batch_size, clip_range=clip_range, clip_range_vf=clip_range_vf)
        if normalize_advantage and batch_size == 1:
            raise ValueError("batch_size must be at least 2 where normalize_advantage is true, got 1")
        super().__init__(
            sb3.PPO,
            {
                **numbers,
                "clip_range": schedule(clip_range),
                "clip_range_vf": None if clip_range_vf is None else schedule(clip_range_vf),
                "normalize_advantage": normalize_advantage,
            },
            total_timesteps,
            learning_rate,
            max_grad_norm,
            policy=policy,
            policy_kwargs=policy_kwargs,
            initial_weights=initial_weights,
            deterministic_evaluation=deterministic_evaluation,
            compile=compile,
            channels_last=channels_last,
        )
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.normalize_advantage = normalize_advantage
        self.normalize_globally = normalize_globally
        self.target_kl = target_kl
        self.too_far: LateRead | None = None

    def local_batch_size(self) -> int:
        """Return the size of this rank's minibatches."""
        world_size = self.trainer.world_size if is_attached(self) else 1
        if self.batch_size % world_size:
            raise ValueError(f"batch_size={self.batch_size} cannot be divided among {world_size} ranks")
        return self.batch_size // world_size

    def losses(self, batch: RolloutBufferSamples, values: Tensor, log_prob: Tensor) -> dict[str, Tensor]:
        """Return ``policy_loss`` and ``value_loss``, ``approx_kl``, ``clip_fraction`` and ``clip_range``."""
        assert isinstance(self.algorithm, sb3.PPO)
        remaining = _sb3.progress_remaining(self.algorithm)
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
        if self.target_kl is not None:
            self.too_far = LateRead(approx_kl > 1.5 * self.target_kl)
        return {
            "policy_loss": -torch.min(advantages * ratio, clipped).mean(),
            "value_loss": F.mse_loss(batch.returns, values),
            "approx_kl": approx_kl,
            "clip_fraction": ((ratio - 1).abs() > clip_range).float().mean(),
            "clip_range": torch.full_like(approx_kl, clip_range),
        }

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Skip this step and the rest of the rollout if the policy has moved too far; DDP needs a loss all the same."""
        if self.too_far is not None and bool(self.too_far.value()):
            optimizer.zero_grad(set_to_none=True)
            assert self.rollouts is not None
            self.rollouts.abandon()
