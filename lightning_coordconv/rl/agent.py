"""Class of a trained agent: to load, to choose actions, to play, evaluate, film and export."""

import copy
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn

from lightning_coordconv.core.arguments import check_at_least
from lightning_coordconv.core.checkpoints import CheckpointError, UntrustedCheckpointError
from lightning_coordconv.core.export import ExportError, Format
from lightning_coordconv.core.files import complete_file
from lightning_coordconv.core.plain_data import check_plain
from lightning_coordconv.core.predictor import Predictor, Size
from lightning_coordconv.core.restore import load_task
from lightning_coordconv.core.sources import Images
from lightning_coordconv.rl.data import EVALUATION, EnvironmentDataModule
from lightning_coordconv.rl.environments.vector import frames_per_second
from lightning_coordconv.rl.environments.zero_based import ZeroBased
from lightning_coordconv.rl.episodes import Episode, Evaluation
from lightning_coordconv.rl.evaluation import play_seeded, seeded
from lightning_coordconv.rl.frames import play_frames
from lightning_coordconv.rl.precision import policy_calls
from lightning_coordconv.rl.ranges import check_ranges
from lightning_coordconv.rl.spaces import check_observation, check_same_spaces
from lightning_coordconv.rl.task import AgentTask

TOLERANCE = 1e-5
"""Allowed difference of an exported agent's values and log-probabilities."""


class Agent(Predictor[AgentTask]):
    """A trained agent with its environments; see :meth:`load`.

    Args:
        task: a trained task.
        device: see :class:`~lightning_coordconv.core.Predictor`.
        data: the environments, in place of those that the checkpoint describes; of the same spaces.

    Raises:
        CheckpointError: if the checkpoint does not describe its environments, and there is no ``data``.
    """

    kinds = (AgentTask,)
    formats = ("sb3",)

    def __init__(
        self, task: AgentTask, device: str | torch.device = "auto", data: EnvironmentDataModule | None = None
    ) -> None:
        super().__init__(task, device)
        self.data = data or _environments(task.describe_data())

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str | torch.device = "auto",
        trust: bool = False,
        data: EnvironmentDataModule | None = None,
        **arguments: Any,
    ) -> Self:
        """Load a trained agent from a checkpoint, which is enough: its configuration is not needed.

        The checkpoint is read as data: nothing in it is run, unless ``trust`` is set. The environments that it names
        must be registered, and a module that it names for that must have been imported.

        Args:
            path: the checkpoint, or the name of weights that are part of the package, such as ``"find_and_touch"``.
            device: ``"auto"`` for an accelerator if there is one, or a device of torch, such as ``"cpu"``.
            trust: build and import whatever the checkpoint names, which can run code.
            data: environments in place of those that the checkpoint names.
            **arguments: of the task, in place of those in the checkpoint.

        Raises:
            FileNotFoundError: if there is no such file, and no shipped weights have that name.
            CheckpointError: if it is damaged, no checkpoint, of another task, or does not describe its environments.
            UntrustedCheckpointError: if it names a class or a module that loading a checkpoint must not import.
            ValueError: if there is no such device or environment.
        """
        if Path(path).suffix.lower() == ".zip":
            raise CheckpointError(f"{path} is no checkpoint but a file for Stable-Baselines3's A2C.load or PPO.load")
        task = load_task(path, cls.kinds, trust, arguments)
        if data is None and not trust:
            _check_imported(task.describe_data().get("environment"), path)
        return cls(task, device, data)

    def evaluate(self, episodes: int = 10, seed: int | None = None) -> Evaluation:
        """Play whole episodes, as a test does, and return their rewards and lengths.

        Args:
            episodes: how many.
            seed: of the episodes; by default those of the test after training.

        Raises:
            ValueError: if ``episodes`` is not positive or the seed is negative.
        """
        check_at_least(1, episodes=episodes)
        chosen = self._seed(seed, self.data.evaluation_seed("test"))
        with self._environment() as env:
            played = play_seeded(
                self._policy, env, episodes, chosen, self.task.deterministic_evaluation, self.data.max_eval_steps
            )
        return Evaluation(*played)

    def predict(self, observation: Any, deterministic: bool | None = None) -> NDArray[Any]:
        """Return the action for one observation of the environment, or the actions for several, as SB3's policies do.

        Integers count from 0, as SB3 requires: where a space of the environment has another ``start``, add that to
        actions, and subtract it from observations.

        Args:
            observation: as the environments of ``data`` return it after their wrappers, such as ``data.frame_stack``;
                of several, with a first axis more. Of a dictionary of observations, a dictionary.
            deterministic: whether to take the most probable action instead of sampling one; by default as in
                evaluations.

        Raises:
            ValueError: if it is no observation of the environment, or has numbers that are not finite.
        """
        check_observation(self._policy.observation_space, observation)
        chosen = self.task.deterministic_evaluation if deterministic is None else deterministic
        with policy_calls(self.device):
            actions, _ = self._policy.predict(observation, deterministic=chosen)
        return np.asarray(actions)

    def play(
        self, max_steps: int = 2000, seed: int | None = None, saliency: bool = False, fps: int | None = None
    ) -> Episode:
        """Play one episode and return its frames.

        Args:
            max_steps: longest episode, in steps of the environment.
            seed: of the episode; by default that of the first that :meth:`evaluate` plays.
            saliency: whether pixels turn red by how much the probability of the chosen action depends on them.
            fps: frames a second of the video that the episode can be saved as; by default those of
                :class:`~lightning_coordconv.rl.AgentVideo`.

        Raises:
            ValueError: for a number out of its range, or for the saliency of observations that are no images.
            CannotRenderError: if the environment returns no frames.
        """
        check_ranges(max_steps=max_steps, fps=fps)
        chosen = self._seed(seed, self.data.evaluation_seed("test"))
        with self._environment() as env, seeded(env, chosen), torch.no_grad():
            deterministic = self.task.deterministic_evaluation
            frames, rewards = zip(*play_frames(self._policy, env, deterministic, max_steps, saliency), strict=True)
            speed = fps or frames_per_second(self.data.spec, env)
        return Episode(np.stack(frames), float(rewards[-1]), speed)

    def write(self, path: Path, format: Format, size: Size | None, images: Images | None = None) -> float:
        """Write Stable-Baselines3's zip, and compare the actions of the agent that it loads on random observations.

        Returns:
            The largest difference of the probability of an action, which must be zero.

        Raises:
            ExportError: if the agents differ, or a size or images are given.
        """
        if size is not None or images is not None:
            raise ExportError("an agent takes observations of its environment: leave out --size and --images")
        algorithm = self.task.algorithm
        assert algorithm is not None
        with self._environment() as env:
            if any(env.env_is_wrapped(ZeroBased)):
                rank_zero_warn(
                    f"{path} takes and returns integers from 0, but spaces of {self.data.env_id} start elsewhere: add "
                    "the start of a space to actions, and subtract it from observations"
                )
        policy = copy.deepcopy(self._policy).cpu()
        rank_zero_info(f"{path} has no state of the optimiser: learn() of Stable-Baselines3 begins a new one")
        packages = {type(module).__module__.partition(".")[0] for module in policy.modules()}
        needed = sorted(packages - {"torch", "stable_baselines3"})
        if needed:
            rank_zero_info(f"a program that reads {path} needs {' and '.join(needed)} installed")
        with complete_file(path) as part:
            algorithm.save(part)
            loaded = type(algorithm).load(part, device="cpu").policy
            return max(_difference(policy, loaded, seed) for seed in range(3))

    @property
    def _policy(self) -> Any:
        assert self.task.policy is not None
        return self.task.policy

    def _seed(self, given: int | None, default: int) -> int:
        if given is not None:
            check_at_least(0, seed=given)
        return default if given is None else given

    @contextmanager
    def _environment(self) -> Iterator[Any]:
        with policy_calls(self.device):  # of which threads enter one at a time
            self.data.setup("test")
            try:
                env: Any = self.data.eval_env
                spaces = (env.observation_space, env.action_space)
                check_same_spaces((self._policy.observation_space, self._policy.action_space), spaces)
                yield env
            finally:
                self.data.teardown("test")


def _difference(policy: Any, loaded: Any, seed: int) -> float:
    """Return how much two policies differ in the values and log-probabilities of random observations."""
    policy.observation_space.seed(seed)
    observation, _ = policy.obs_to_tensor(policy.observation_space.sample())
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        actions, *expected = policy(observation)
        found = loaded.evaluate_actions(observation, actions.flatten(1) if actions.dim() > 1 else actions)
    difference = max((a - b.view_as(a)).abs().max().item() for a, b in zip(expected, found, strict=False))
    if not difference <= TOLERANCE:
        raise ExportError(f"the agent that the file holds acts differently, by {difference:.2g}; nothing is written")
    return float(difference)


def _environments(described: Mapping[str, Any]) -> EnvironmentDataModule:
    """Return the environments that a checkpoint describes."""
    arguments = described.get("environment")
    if arguments is None:
        raise CheckpointError(
            "the checkpoint does not describe its environments: give them, as load(..., "
            "data=EnvironmentDataModule(env_id))"
        )
    if not isinstance(arguments, Mapping) or not set(arguments) <= set(EVALUATION):
        raise CheckpointError(f"the environment of the checkpoint must have only {', '.join(EVALUATION)}")
    try:
        check_plain(arguments, "environment")
        return EnvironmentDataModule(**arguments)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the environment of the checkpoint cannot be made: {error}") from error


def _check_imported(arguments: Any, path: str | Path) -> None:
    """Refuse a module that was not imported before: importing it runs its code."""
    env_id = arguments.get("env_id") if isinstance(arguments, Mapping) else None
    module = env_id.rpartition(":")[0] if isinstance(env_id, str) else ""
    if module and module not in sys.modules:
        raise UntrustedCheckpointError(
            f"{path}: the environment {env_id!r} is in a module that was not imported before: if you "
            "trust it, import it first, or set trust=True"
        )


load = Agent.load
