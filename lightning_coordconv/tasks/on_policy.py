"""What agents share: Stable-Baselines3 collects, Lightning optimises, distributes, saves and resumes."""

import importlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor

from lightning_coordconv.extras import extra
from lightning_coordconv.metrics.atari import human_normalised_score
from lightning_coordconv.tasks.base import BaseTask
from lightning_coordconv.tasks.rollouts import Rollouts, minibatches_per_pass
from lightning_coordconv.tasks.spaces import Space, space_from_plain, space_to_plain

with extra("rl", "agents"):
    from gymnasium import spaces
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.preprocessing import is_image_space
    from stable_baselines3.common.save_util import load_from_zip_file
    from stable_baselines3.common.type_aliases import RolloutBufferSamples
    from stable_baselines3.common.utils import LinearSchedule, explained_variance, safe_mean, set_random_seed

Scheduled = float | tuple[float, float]
"""A number, or two between which it moves linearly while ``total_timesteps`` go by."""

EVALUATION_SEEDS = {"val": 1_000_000, "test": 2_000_000, "predict": 3_000_000}
"""Added to the seed: episodes of evaluation are others than those of training, and the same each time."""


class OnPolicyTask(BaseTask):
    """An on-policy algorithm of Stable-Baselines3 under Lightning.

    The algorithm is SB3's own object, ``self.algorithm``, with its policy, ``self.policy``. It collects; the loss that
    a subclass writes down is optimised by Lightning with the policy's own optimiser. With one process the weights are
    those of the algorithm's ``learn``, bit for bit; with more, numbers of environments and batch sizes are of all ranks
    together, and initial weights those of the first.

    Everything is logged against steps in all environments. Names: ``train/loss`` and its terms,
    ``train/explained_variance``, ``train/learning_rate``, ``train/reward`` and ``train/episode_length`` (means of the
    last hundred episodes of the first rank), ``train/fps`` (environment steps a second since the start);
    ``{val,test}/reward``, ``reward_std``, ``episode_length`` and ``episodes`` of the episodes that SB3's
    ``evaluate_policy`` plays, and ``human_normalised`` where a human score is known; ``val/timesteps``.

    A checkpoint holds all that the future depends on: the weights, the optimiser, a rollout that is not used up, and
    environments as far as they live in this process. With the callback ``RandomState``, which every run of the command
    line has, a resumed run goes on bit for bit, from any step.

    Args:
        algorithm: SB3's class.
        arguments: what it is made with, by SB3's names.
        policy: ``"CnnPolicy"`` for images, ``"MlpPolicy"`` for vectors.
        policy_kwargs: as SB3 has them; classes are given by their dotted names or themselves.
        total_timesteps: steps in all environments after which the run ends, and over which schedules run. A resumed run
            can have more of them.
        learning_rate: a number, or the first and the last of a linear schedule.
        max_grad_norm: gradients are scaled down to this norm, unless the trainer has a ``gradient_clip_val``.
        initial_weights: an SB3 zip whose weights to start from; nothing else in it is read, so nothing in it is run.
            A plain convolution's weights fit a CoordConv's, whose coordinate weights become zeros.
        deterministic_evaluation: whether evaluation takes the most probable action, and does not draw one.
        channels_last: whether weights lie in memory with their channels last, which some machines convolve faster.

    Raises:
        ValueError: for a number that is not positive.
    """

    sample_keys: ClassVar[frozenset[str]] = frozenset({"rollout"})
    objects: ClassVar[frozenset[str]] = frozenset({"algorithm", "arguments"})
    monitor: str = "val/reward"
    mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(
        self,
        algorithm: type[OnPolicyAlgorithm],
        arguments: Mapping[str, Any],
        policy: str,
        policy_kwargs: Mapping[str, Any] | None,
        total_timesteps: int,
        learning_rate: Scheduled,
        max_grad_norm: float,
        initial_weights: str | None,
        deterministic_evaluation: bool,
        channels_last: bool,
    ) -> None:
        super().__init__()
        if total_timesteps < 1:
            raise ValueError(f"total_timesteps must be at least 1, got {total_timesteps}")
        self.algorithm_class = algorithm
        self.arguments = {**arguments, "learning_rate": schedule(learning_rate), "max_grad_norm": max_grad_norm}
        self.policy_name = policy
        self.policy_kwargs = {key: _imported(key, value) for key, value in (policy_kwargs or {}).items()}
        self.total_timesteps = total_timesteps
        self.max_grad_norm = max_grad_norm
        self.initial_weights = initial_weights
        self.deterministic_evaluation = deterministic_evaluation
        self.channels_last = channels_last
        self.n_epochs = 1
        self.algorithm: OnPolicyAlgorithm | None = None
        self.policy: ActorCriticPolicy | None = None
        self.rollouts: Rollouts | None = None
        self.saved: Sequence[Mapping[str, Any]] = ()
        self.clock = (0.0, 0)

    @property
    def data(self) -> Any:
        """The data module, which has the environments."""
        return self.trainer.datamodule  # type: ignore[attr-defined]  # it is there, undeclared

    def configure_model(self) -> None:
        """Make the algorithm, with the environments if there are any; weights that it had are kept."""
        if self._trainer is None:  # load_from_checkpoint: on_load_checkpoint knows what the policy is for
            return
        data = self.data
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        if fitting and (self.algorithm is None or self.algorithm.env is not data.train_env):
            self._make(data.train_env.observation_space, data.train_env.action_space, data.train_env, data.seed)
        elif self.algorithm is None:
            self._make(data.eval_env.observation_space, data.eval_env.action_space)

    def local_batch_size(self) -> int | None:
        """Return the size of this rank's minibatches; ``None`` for whole rollouts."""
        return None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the policy's own optimiser."""
        assert self.policy is not None
        return self.policy.optimizer

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm, as SB3 does."""
        value = self.max_grad_norm if gradient_clip_val is None else gradient_clip_val
        self.clip_gradients(optimizer, value, gradient_clip_algorithm or "norm")

    def minibatches_per_rollout(self) -> int:
        """Return how many optimiser steps are made of a rollout."""
        assert self.algorithm is not None
        return self.n_epochs * minibatches_per_pass(self.algorithm, self.local_batch_size())

    def next_minibatch(self) -> RolloutBufferSamples:
        """Return the next minibatch of this rank, from a new rollout if the last is used up."""
        assert self.rollouts is not None
        return self.rollouts.next()

    def on_train_start(self) -> None:
        """Set the rollouts up, from the start or from where they were."""
        algorithm, data = self.algorithm, self.data
        assert algorithm is not None
        algorithm.device = algorithm.rollout_buffer.device = self.device
        saved, self.saved = self.saved, ()
        data.seed_training()
        if saved:
            self._resume(saved)
        else:
            if self.global_rank > 0:  # the first rank's numbers are those of a single process
                set_random_seed(data.seed + self.global_rank, using_cuda=self.device.type == "cuda")
            self._start(reset=True)
        assert self.rollouts is not None
        self.clock = (time.perf_counter(), self.rollouts.timesteps)
        self._stop_when_done()

    def training_step(self, batch: RolloutBufferSamples, batch_idx: int) -> Tensor:
        """Return the loss of a minibatch."""
        assert self.policy is not None
        actions = batch.actions
        if isinstance(self.policy.action_space, spaces.Discrete):
            actions = actions.long().flatten()
        values, log_prob, entropy = self.policy.evaluate_actions(batch.observations, actions)
        terms = self.losses(batch, values.flatten(), log_prob)
        terms["entropy_loss"] = -torch.mean(-log_prob if entropy is None else entropy)
        # the order of the sum is SB3's
        loss = (
            terms["policy_loss"]
            + self.arguments["ent_coef"] * terms["entropy_loss"]
            + self.arguments["vf_coef"] * terms["value_loss"]
        )
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._log_training({"loss": loss, **terms}, len(log_prob))
        return loss

    def losses(self, batch: RolloutBufferSamples, values: Tensor, log_prob: Tensor) -> dict[str, Tensor]:
        """Return ``policy_loss`` and ``value_loss``, and whatever else is to be logged.

        Args:
            batch: what was collected.
            values: (B,) what the critic says now.
            log_prob: (B,) of the actions taken, as the actor sees them now.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement losses(batch, values, log_prob)")

    def normalise(self, advantages: Tensor, everywhere: bool) -> Tensor:
        """Return advantages (B,) with the mean 0 and the deviation 1, of this rank's minibatch or that of all ranks."""
        gathered = advantages
        if everywhere and self.trainer.world_size > 1:
            gathered = cast(Tensor, self.all_gather(advantages))
        return (advantages - gathered.mean()) / (gathered.std() + 1e-8)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End the run with the last minibatch of the rollout that completes ``total_timesteps``."""
        self._stop_when_done()

    def validation_step(self, episodes: int, batch_idx: int) -> None:
        """Play episodes and log their mean reward."""
        self._evaluate(episodes, "val")

    def test_step(self, episodes: int, batch_idx: int) -> None:
        """Play episodes and log their mean reward."""
        self._evaluate(episodes, "test")

    def predict_step(self, episodes: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """Play episodes and return the columns (B,) of a table: number, ``reward`` and ``length``."""
        rewards, lengths = self.play(len(episodes), "predict")
        return {"episode": episodes, "reward": torch.tensor(rewards), "length": torch.tensor(lengths)}

    def play(self, episodes: int, stage: str) -> tuple[list[float], list[int]]:
        """Return rewards and lengths of episodes, whole games where an episode of training is a life.

        They depend on the weights and the seeds alone, and leave the random states of training as they are.

        Args:
            episodes: how many this rank plays.
            stage: ``"val"``, ``"test"`` or ``"predict"``, which have different seeds.
        """
        if not episodes:
            return [], []
        assert self.policy is not None
        data = self.data
        seed = data.seed + EVALUATION_SEEDS[stage] + self.global_rank * data.n_eval_envs
        with isolate_rng():
            torch.manual_seed(seed)
            data.eval_env.seed(seed)
            rewards, lengths = evaluate_policy(
                self.policy,
                data.eval_env,
                episodes,
                deterministic=self.deterministic_evaluation,
                return_episode_rewards=True,
            )
        assert isinstance(rewards, list)
        assert isinstance(lengths, list)
        return rewards, lengths

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the policy is for, and what each rank was at."""
        assert self.policy is not None
        checkpoint["spaces"] = [space_to_plain(s) for s in (self.policy.observation_space, self.policy.action_space)]
        if self.rollouts is not None:
            data = self.data
            mine = {"rollouts": self.rollouts.state_dict(), "environments": data.snapshot()}
            states = [mine]
            if self.trainer.world_size > 1:
                states = [{}] * self.trainer.world_size
                torch.distributed.all_gather_object(states, mine)
            checkpoint["ranks"] = states

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See that the policy is for the same spaces, and take note of what there is to resume."""
        if "spaces" not in checkpoint:
            raise ValueError(f"this is no checkpoint of {type(self).__name__}: it does not say what its policy is for")
        observations, actions = map(space_from_plain, checkpoint["spaces"])
        if self.policy is None:
            self._make(observations, actions)
        assert self.policy is not None
        for theirs, ours in ((observations, self.policy.observation_space), (actions, self.policy.action_space)):
            if theirs != ours:
                raise ValueError(f"the checkpoint's policy is for {theirs}, and the environment's space is {ours}")
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.saved = checkpoint.get("ranks", ())

    def load_zip(self, path: str) -> None:
        """Take the weights of a policy from an SB3 zip; what in it is pickled is not read.

        Raises:
            ValueError: if there is no such file, or its weights are no plain tensors, or those of another policy.
        """
        assert self.policy is not None
        try:
            _, parameters, _ = load_from_zip_file(path, load_data=False)
            weights: Any = parameters["policy"]
        except Exception as error:
            raise ValueError(
                f"{path} is no SB3 zip that holds the weights of a policy as plain tensors: {error}"
            ) from error
        head = weights.get("action_net.bias")
        if head is not None and head.shape != self.policy.state_dict()["action_net.bias"].shape:
            raise ValueError(f"{path} holds a policy with {len(head)} actions, and here are {self.policy.action_space}")
        try:
            self.policy.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f"{path} holds another policy: {str(error).splitlines()[1].strip()}") from error

    def _make(self, observations: Space, actions: Space, env: Any = None, seed: int | None = None) -> None:
        normalised = self.policy_kwargs.get("normalize_images") is False
        if self.policy_name == "CnnPolicy" and not is_image_space(observations, normalized_image=normalised):
            raise ValueError(
                f"CnnPolicy looks at images, uint8 in [0, 255], and the observations are {observations}: "
                "take MlpPolicy, or policy_kwargs normalize_images: false for images in [0, 1]"
            )
        weights = None if self.policy is None else self.policy.state_dict()
        arguments = {**self.arguments, "policy_kwargs": dict(self.policy_kwargs), "device": "cpu", "seed": seed}
        batch_size = self.local_batch_size()
        if batch_size is not None:
            arguments["batch_size"] = batch_size
        algorithm = self.algorithm_class(self.policy_name, env, _init_setup_model=False, **arguments)
        if env is None:  # as SB3's load does
            algorithm.observation_space, algorithm.action_space, algorithm.n_envs = observations, actions, 1
        algorithm._setup_model()
        self.algorithm, self.policy = algorithm, algorithm.policy
        if weights is not None:
            self.policy.load_state_dict(weights)
        elif self.initial_weights is not None:
            self.load_zip(self.initial_weights)
        if self.channels_last:
            self.policy.to(memory_format=torch.channels_last)

    def _start(self, reset: bool) -> None:
        assert self.algorithm is not None
        _, callback = self.algorithm._setup_learn(self.total_timesteps, reset_num_timesteps=reset)
        self.rollouts = Rollouts(
            self.algorithm,
            callback,
            self.total_timesteps,
            self.trainer.world_size,
            self.n_epochs,
            self.local_batch_size(),
        )

    def _resume(self, saved: Sequence[Mapping[str, Any]]) -> None:
        data = self.data
        same = len(saved) == self.trainer.world_size
        if not same:
            rank_zero_warn(
                f"the checkpoint was written by {len(saved)} ranks and this run has {self.trainer.world_size}: it goes "
                "on with the weights and the count of steps, but environments and random numbers start anew"
            )
        mine = saved[self.global_rank if same else 0]
        self._start(reset=True)
        assert self.algorithm is not None
        assert self.rollouts is not None
        if same:
            self.rollouts.load_state_dict(mine["rollouts"])
        else:
            self.algorithm.num_timesteps = mine["rollouts"]["num_timesteps"] * len(saved) // self.trainer.world_size
            self.rollouts.update_progress()
            set_random_seed(data.seed + self.rollouts.timesteps + self.global_rank)
        if same and mine["environments"] is not None:
            data.restore(mine["environments"])
            return
        if same:
            rank_zero_warn("the checkpoint does not hold the state of the environments: they start anew")
        data.seed_training(shift=self.rollouts.timesteps)
        assert self.algorithm.env is not None
        self.algorithm._last_obs = self.algorithm.env.reset()  # type: ignore[assignment]
        self.algorithm._last_episode_starts[:] = True  # type: ignore[index]

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
        """Have what is logged now stand against environment steps, not those of the optimiser."""
        assert self.rollouts is not None
        steps = torch.tensor(self.rollouts.timesteps, dtype=torch.float64)
        self.log("step", steps, batch_size=samples, sync_dist=True)

    def _evaluate(self, episodes: int, stage: str) -> None:
        rewards, lengths = (torch.tensor(numbers, dtype=torch.float64) for numbers in self.play(episodes, stage))
        sums = torch.stack([torch.tensor(float(episodes)), rewards.sum(), rewards.square().sum(), lengths.sum()])
        sums = self.trainer.strategy.reduce(sums.to(self.device), reduce_op="sum")
        total = sums[0].item()
        mean, square, length = (sums[1:] / total).tolist()
        results = {"reward": mean, "reward_std": max(square - mean**2, 0.0) ** 0.5, "episode_length": length}
        human = human_normalised_score(self.data.env_id, mean)
        if human is not None:
            results["human_normalised"] = human
        results["episodes"] = total
        if stage == "val" and self.rollouts is not None:
            results["timesteps"] = float(self.rollouts.timesteps)
            self._log_step(1)
        self.log_dict({f"{stage}/{name}": number for name, number in results.items()}, batch_size=1, sync_dist=True)


def schedule(value: Scheduled) -> float | LinearSchedule:
    """Return what SB3 takes for a number, or for the first and the last of a linear schedule."""
    return value if isinstance(value, float | int) else LinearSchedule(*value, end_fraction=1.0)


def class_names(policy_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments with the dotted names of classes in place of classes: what a checkpoint can hold."""
    return {
        key: f"{value.__module__}.{value.__qualname__}" if isinstance(value, type) else value
        for key, value in (policy_kwargs or {}).items()
    }


def _imported(key: str, value: Any) -> Any:
    """Return the class that an argument of SB3's policies names."""
    if not isinstance(value, str) or not (key.endswith("_class") or key == "activation_fn"):
        return value
    module, _, name = value.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"policy_kwargs: {key} {value!r} is not the dotted name of a class: {error}") from error
