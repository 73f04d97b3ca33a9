"""Base class of tasks that train an agent: builds the policy, evaluates it on episodes, and loads its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_info
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor

from lightning_coordconv.core._lightning import is_attached
from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.network_options import apply_network_options, can_compile
from lightning_coordconv.core.predictions import PredictionTable
from lightning_coordconv.core.protocols import data_module
from lightning_coordconv.core.restore import check_finite, named
from lightning_coordconv.core.task import BaseTask
from lightning_coordconv.rl._sb3 import make_algorithm
from lightning_coordconv.rl.classes import PolicyArguments, class_names, resolve_classes
from lightning_coordconv.rl.environments.vector import ATARI
from lightning_coordconv.rl.evaluation import Episodes, play_seeded
from lightning_coordconv.rl.precision import check_precision, mix_precision, policy_calls
from lightning_coordconv.rl.scores import human_normalised_score
from lightning_coordconv.rl.spaces import Space, check_same_spaces, decode_space, encode_space
from lightning_coordconv.rl.video import AgentVideo
from lightning_coordconv.rl.zips import actions_of, describe, read_zip, warn_of_other_functions

with extra("rl", "agents"):
    from gymnasium import spaces
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.preprocessing import is_image_space


class AgentConfigurationError(ValueError, MisconfigurationException):
    """Options of the task and of the environments contradict each other."""


class AgentTask(BaseTask):
    """An algorithm of Stable-Baselines3 whose policy is trained and evaluated by Lightning.

    Logged names: ``{val,test}/reward``, ``reward_std`` and ``episode_length`` (means over the episodes of all ranks),
    ``episodes`` (their number), ``episodes_cut`` (how many reached ``max_eval_steps``), and ``human_normalised`` where
    a human score is known. An evaluation that a signal interrupts has no result and raises Lightning's
    ``SIGTERMException``. A checkpoint says for which spaces its policy is.

    Args:
        algorithm: SB3's class.
        arguments: arguments of the algorithm, by SB3's names.
        policy: ``"CnnPolicy"`` for images, ``"MlpPolicy"`` for vectors, ``"MultiInputPolicy"`` for dicts of both.
        policy_kwargs: arguments of SB3's policy; see :class:`~lightning_coordconv.rl.classes.PolicyArguments`.
        initial_weights: an SB3 zip with initial weights. Only tensors and text are read, and no code is run. The
            weights of a plain convolution fit a CoordConv, whose coordinate weights become zeros.
        deterministic_evaluation: whether evaluation takes the most probable action instead of sampling one.
        compile: compile the feature extractors and the layers behind them with ``torch.compile``; for this and the
            following see :func:`~lightning_coordconv.core.network_options.apply_network_options`.
        channels_last: keep the policy's weights in the memory format channels last.

    Raises:
        ValueError: for an unknown policy or class, or if ``initial_weights`` is not a file.
    """

    sample_keys: frozenset[str] = frozenset({"rollout"})
    half_weights: ClassVar[bool] = False
    unsaved_hparams: frozenset[str] = frozenset({"algorithm", "arguments"})
    monitor: str = "val/reward"
    mode: ClassVar[Literal["min", "max"]] = "max"
    greatest: ClassVar[tuple[str, ...]] = ("training_reward", "human_normalised")

    def __init__(
        self,
        algorithm: type[OnPolicyAlgorithm],
        arguments: Mapping[str, Any],
        policy: str,
        policy_kwargs: PolicyArguments | None,
        initial_weights: str | None,
        deterministic_evaluation: bool,
        compile: bool,
        channels_last: bool,
    ) -> None:
        super().__init__()
        self.save_hyperparameters({"policy_kwargs": class_names(policy_kwargs)})
        if policy not in algorithm.policy_aliases:
            raise ValueError(f"policy must be one of {', '.join(algorithm.policy_aliases)}, got {policy!r}")
        if initial_weights is not None and not any(Path(f"{initial_weights}{end}").is_file() for end in ("", ".zip")):
            raise ValueError(f"initial_weights: there is no file {initial_weights}")
        self.algorithm_class = algorithm
        self.arguments = arguments
        self.policy_name = policy
        self.policy_kwargs = resolve_classes(policy_kwargs)
        self.initial_weights = initial_weights
        self.deterministic_evaluation = deterministic_evaluation
        self.compiled = compile
        self.channels_last = channels_last
        self.algorithm: OnPolicyAlgorithm | None = None
        self.policy: ActorCriticPolicy | None = None

    @property
    def data(self) -> Any:
        """The data module, which holds the environments."""
        return data_module(self.trainer)

    def figures(self) -> list[Callback]:
        """Return the table of episodes, and the videos."""
        return [PredictionTable(), AgentVideo()]

    def configure_model(self) -> None:
        """Build the algorithm, with environments where it is trained; existing weights are kept."""
        if not is_attached(self):  # load_from_checkpoint: on_load_checkpoint knows the spaces
            return
        check_precision(self.trainer.precision_plugin)
        data = self.data
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        if fitting and (self.algorithm is None or self.algorithm.env is not data.train_env):
            self._build(data.train_env.observation_space, data.train_env.action_space, data.train_env, data.seed)
        elif self.algorithm is None:
            self._build(data.eval_env.observation_space, data.eval_env.action_space)
        assert self.policy is not None
        mix_precision(self.policy, self.trainer.precision_plugin)

    def local_batch_size(self) -> int | None:
        """Return the size of this rank's minibatches; ``None`` for whole rollouts."""
        return None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the policy's optimiser."""
        assert self.policy is not None
        return self.policy.optimizer

    def validation_step(self, episodes: int, batch_idx: int) -> None:
        """Play episodes and log their mean reward."""
        self._evaluate(episodes, "val")

    def test_step(self, episodes: int, batch_idx: int) -> None:
        """Play episodes and log their mean reward."""
        self._evaluate(episodes, "test")

    def predict_step(self, episodes: Tensor, batch_idx: int) -> dict[str, Tensor]:
        """Play episodes and return the columns (B,) of a table: ``episode`` (number), ``reward`` and ``length``."""
        played = self.play(len(episodes), "predict")
        finished = len(played.rewards)
        return {
            "episode": episodes[:finished],
            "reward": torch.tensor(played.rewards),
            "length": torch.tensor(played.lengths),
        }

    def play(self, episodes: int, stage: str) -> Episodes:
        """Play episodes, which depend only on the weights and the seed; random states of training are kept.

        Args:
            episodes: how many this rank plays: whole games, where a lost life ends an episode of training.
            stage: ``"val"``, ``"test"`` or ``"predict"``, which have different seeds.
        """
        if not episodes:
            return Episodes([], [], 0)
        assert self.policy is not None
        data = self.data
        seed = data.evaluation_seed(stage) + self.global_rank * data.n_eval_envs
        with policy_calls(self.device):
            played = play_seeded(
                self.policy,
                data.eval_env,
                episodes,
                seed,
                self.deterministic_evaluation,
                data.max_eval_steps,
                self._interrupted,
            )
        if len(played.rewards) < episodes:
            rank_zero_info(f"evaluation was interrupted after {len(played.rewards)} of {episodes} episodes")
        return played

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the spaces, and forget the file of initial weights, which those of the checkpoint replace."""
        assert self.policy is not None
        super().on_save_checkpoint(checkpoint)
        checkpoint["algorithm"] = self.algorithm_class.__name__
        checkpoint["spaces"] = [encode_space(s) for s in (self.policy.observation_space, self.policy.action_space)]
        if "hyper_parameters" in checkpoint:
            checkpoint["hyper_parameters"]["initial_weights"] = None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build the policy if there is none, and check that it is for the spaces of the checkpoint."""
        super().on_load_checkpoint(checkpoint)
        if "spaces" not in checkpoint:
            raise ValueError(f"this is not a checkpoint of {type(self).__name__}: it has no spaces of a policy")
        algorithm, own = checkpoint.get("algorithm"), self.algorithm_class.__name__
        if algorithm not in (None, own):
            raise ValueError(f"this is a checkpoint of the algorithm {algorithm}, and {type(self).__name__} is {own}")
        observations, actions = map(decode_space, checkpoint["spaces"])
        if self.policy is None:
            self._build(observations, actions)
        assert self.policy is not None
        check_same_spaces((observations, actions), (self.policy.observation_space, self.policy.action_space))

    def load_zip(self, path: str) -> None:
        """Load the weights of a policy from an SB3 zip, without reading what is pickled in it.

        Warnings name options by which the policy that was saved computed something else with these weights, and
        ``VecNormalize``, if it was trained with that.

        Args:
            path: of the file; SB3 leaves out the suffix ``.zip``.

        Raises:
            ValueError: if there is no such file, it is damaged, its weights are not plain tensors or not finite, or
                they belong to another policy, or to one of other actions.
        """
        assert self.policy is not None
        assert self.algorithm is not None
        path = path if Path(path).is_file() else f"{path}.zip"
        try:
            weights, described = read_zip(path)
        except (ValueError, KeyError, OSError, RecursionError) as error:
            raise AgentConfigurationError(
                f"{path} is not an SB3 zip with the weights of a policy as plain tensors: {error}"
            ) from error
        actions, own = actions_of(weights, described), describe(self.algorithm) if "action_space" in described else {}
        if actions not in (None, actions_of(self.policy.state_dict(), own)):
            raise AgentConfigurationError(
                f"{path} holds a policy with {actions}, but the action space is {self.policy.action_space}"
            )
        with named(path, type(self.policy)):
            self.policy.load_state_dict(weights)
        check_finite(self.policy, path)
        warn_of_other_functions(path, described, self.algorithm)

    def _build(self, observations: Space, actions: Space, env: Any = None, seed: int | None = None) -> None:
        for space in (observations, actions):
            encode_space(space)  # refuses at the start what no checkpoint could hold
        if isinstance(observations, spaces.Dict) != (self.policy_name == "MultiInputPolicy"):
            needed = "MultiInputPolicy" if isinstance(observations, spaces.Dict) else "CnnPolicy or MlpPolicy"
            raise AgentConfigurationError(
                f"policy must be {needed} for the observations {observations}, got {self.policy_name!r}"
            )
        normalised = self.policy_kwargs.get("normalize_images") is False
        if self.policy_name == "CnnPolicy" and not is_image_space(observations, normalized_image=normalised):
            raise AgentConfigurationError(
                f"CnnPolicy needs images, uint8 in [0, 255], but the observations are {observations}: use MlpPolicy, "
                "or policy_kwargs normalize_images: false for images in [0, 1]"
            )
        weights = None if self.policy is None else self.policy.state_dict()
        arguments = {**self.arguments, "policy_kwargs": dict(self.policy_kwargs), "device": "cpu", "seed": seed}
        batch_size = self.local_batch_size()
        if batch_size is not None:
            arguments["batch_size"] = batch_size
            rollout = self.arguments["n_steps"] * env.num_envs if env is not None else batch_size
            if batch_size > rollout:
                raise AgentConfigurationError(
                    f"batch_size must be at most the steps of a rollout, n_steps * n_envs = {rollout}, got {batch_size}"
                    " (on each rank)"
                )
        both = (observations, actions)
        try:
            self.algorithm = make_algorithm(self.algorithm_class, self.policy_name, env, both, arguments)
        except (AssertionError, IndexError, RuntimeError, TypeError) as error:  # of SB3 or torch, in words or not
            raise AgentConfigurationError(
                f"{self.algorithm_class.__name__} cannot build a {self.policy_name} for observations {observations}, "
                f"actions {actions}: {str(error) or type(error).__name__}"
            ) from error
        self.policy = self.algorithm.policy
        if weights is not None:
            self.policy.load_state_dict(weights)
        elif self.initial_weights is not None:
            self.load_zip(self.initial_weights)
        apply_network_options(self.policy, False, self.channels_last)
        if self.compiled and can_compile():  # the policy itself is called by other methods than forward, and samples
            policy = self.policy
            for part in {policy.pi_features_extractor, policy.vf_features_extractor, policy.mlp_extractor}:
                part.compile()

    def _interrupted(self) -> bool:
        """Return whether to give the evaluation up: Lightning has received SIGTERM, or a callback asks for it."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        return self.trainer.received_sigterm or any(
            each.interrupts_validation(self.trainer) for each in callbacks if hasattr(each, "interrupts_validation")
        )

    def _evaluate(self, episodes: int, stage: str) -> None:
        def sums(*numbers: float) -> Any:  # over all ranks
            tensor = torch.tensor(numbers, dtype=torch.float64, device=self.device)
            return self.trainer.strategy.reduce(tensor, reduce_op="sum").tolist()

        rewards, lengths, stopped = self.play(episodes, stage)
        asked, finished, cut, reward, length = sums(episodes, len(rewards), stopped, sum(rewards), sum(lengths))
        if finished < asked:  # on all ranks: a mean over fewer episodes must count nowhere
            raise SIGTERMException
        mean = reward / finished
        (squares,) = sums(sum((reward - mean) ** 2 for reward in rewards))
        results = {"reward": mean, "reward_std": (squares / finished) ** 0.5, "episode_length": length / finished}
        spec = self.data.spec  # other environments can bear the name of a game
        if spec.entry_point == ATARI and (human := human_normalised_score(spec.id, mean)) is not None:
            results["human_normalised"] = human
        results |= {"episodes": finished, "episodes_cut": cut}
        self.log_dict({f"{stage}/{name}": number for name, number in results.items()}, batch_size=1, sync_dist=True)
