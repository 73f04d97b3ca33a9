"""What tasks share whose network is the policy of an agent: making it, and letting it play."""

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning import Callback
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor

from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.predictions import PredictionTable
from lightning_coordconv.core.task import BaseTask
from lightning_coordconv.rl.precision import heads_in_full, mix_precision
from lightning_coordconv.rl.scores import human_normalised_score
from lightning_coordconv.rl.spaces import Space, decode_space, encode_space
from lightning_coordconv.rl.video import AgentVideo

with extra("rl", "agents"):
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.preprocessing import is_image_space
    from stable_baselines3.common.save_util import load_from_zip_file

EVALUATION_SEEDS = {"val": 1_000_000, "test": 2_000_000, "predict": 3_000_000}
"""Added to the seed: episodes of evaluation are others than those of training, and the same each time."""


class AgentTask(BaseTask):
    """An algorithm of Stable-Baselines3 with its policy, which plays.

    Logged names are ``{val,test}/reward``, ``reward_std``, ``episode_length`` and ``episodes`` of the episodes that
    SB3's ``evaluate_policy`` plays, and ``human_normalised`` where a human score is known. A checkpoint says which
    spaces the policy is for.

    Args:
        algorithm: SB3's class.
        arguments: what it is made with, by SB3's names.
        policy: ``"CnnPolicy"`` for images, ``"MlpPolicy"`` for vectors.
        policy_kwargs: as SB3 has them; classes are given by their dotted names or themselves.
        initial_weights: an SB3 zip whose weights to start from; nothing else in it is read, so nothing in it is run.
            A plain convolution's weights fit a CoordConv's, whose coordinate weights become zeros.
        deterministic_evaluation: whether evaluation takes the most probable action, and does not draw one.
        channels_last: whether weights lie in memory with their channels last, which some machines convolve faster.
    """

    sample_keys: ClassVar[frozenset[str]] = frozenset({"rollout"})
    unsaved_hparams: ClassVar[frozenset[str]] = frozenset({"algorithm", "arguments"})
    monitor: str = "val/reward"
    mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(
        self,
        algorithm: type[OnPolicyAlgorithm],
        arguments: Mapping[str, Any],
        policy: str,
        policy_kwargs: Mapping[str, Any] | None,
        initial_weights: str | None,
        deterministic_evaluation: bool,
        channels_last: bool,
    ) -> None:
        super().__init__()
        self.algorithm_class = algorithm
        self.arguments = arguments
        self.policy_name = policy
        self.policy_kwargs = {key: _imported(key, value) for key, value in (policy_kwargs or {}).items()}
        self.initial_weights = initial_weights
        self.deterministic_evaluation = deterministic_evaluation
        self.channels_last = channels_last
        self.algorithm: OnPolicyAlgorithm | None = None
        self.policy: ActorCriticPolicy | None = None

    @property
    def data(self) -> Any:
        """The data module, which has the environments."""
        return self.trainer.datamodule  # type: ignore[attr-defined]  # it is there, undeclared

    def figures(self) -> list[Callback]:
        """Return the table of episodes, and the videos."""
        return [PredictionTable(), AgentVideo()]

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
        assert self.policy is not None
        mix_precision(self.policy, self.trainer.precision_plugin)

    def local_batch_size(self) -> int | None:
        """Return the size of this rank's minibatches; ``None`` for whole rollouts."""
        return None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the policy's own optimiser."""
        assert self.policy is not None
        return self.policy.optimizer

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
        with isolate_rng(), heads_in_full(self.device):
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
        """Add what the policy is for."""
        assert self.policy is not None
        checkpoint["spaces"] = [encode_space(s) for s in (self.policy.observation_space, self.policy.action_space)]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See that the policy is for the same spaces."""
        if "spaces" not in checkpoint:
            raise ValueError(f"this is no checkpoint of {type(self).__name__}: it does not say what its policy is for")
        observations, actions = map(decode_space, checkpoint["spaces"])
        if self.policy is None:
            self._make(observations, actions)
        assert self.policy is not None
        for theirs, ours in ((observations, self.policy.observation_space), (actions, self.policy.action_space)):
            if theirs != ours:
                raise ValueError(f"the checkpoint's policy is for {theirs}, and the environment's space is {ours}")

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
        self.log_dict({f"{stage}/{name}": number for name, number in results.items()}, batch_size=1, sync_dist=True)


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
