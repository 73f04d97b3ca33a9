"""Data module of training and evaluation environments, which saves their state, and a loader of batches on demand."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from pytorch_lightning.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from lightning_coordconv.core.data import BaseDataModule, Split
from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.plain_data import UntrustedCheckpointError, check_plain, copy_plain
from lightning_coordconv.core.training_data import teach
from lightning_coordconv.rl.environments.contract import report_far_actions, report_statistics
from lightning_coordconv.rl.environments.crashes import EnvironmentCrashError
from lightning_coordconv.rl.environments.snapshots import NoSnapshotError, restore, snapshot
from lightning_coordconv.rl.environments.vector import Backend, find, make
from lightning_coordconv.rl.random_steps import RandomSteps
from lightning_coordconv.rl.ranges import check_ranges

with extra("rl", "environments"):
    from stable_baselines3.common.vec_env import VecEnv

BatchT = TypeVar("BatchT")
EVALUATION = (
    "env_id",
    "backend",
    "frame_stack",
    "n_eval_envs",
    "env_kwargs",
    "wrapper_kwargs",
    "seed",
    "max_eval_steps",
)
"""Arguments of :class:`EnvironmentDataModule` that the episodes of an evaluation depend on."""
EVALUATION_SEEDS = {"val": 1_000_000, "test": 2_000_000, "predict": 3_000_000}
"""Added to the seed: evaluation always plays the same episodes, which differ from those of training."""
TRAINING = ("env_id", "n_envs", "frame_stack", "env_kwargs", "wrapper_kwargs")
"""Arguments that the state of training environments belongs to."""


class Batches(Generic[BatchT]):
    """An iterable of a fixed number of batches, each made when it is requested.

    Lightning prefetches from an iterable without a length, and a batch collected early comes from an outdated policy. A
    ``DataLoader`` draws from torch's global generator, from which actions are sampled.

    Args:
        make_batch: makes the next batch.
        length: number of batches in an epoch.
    """

    def __init__(self, make_batch: Callable[[], BatchT], length: int) -> None:
        self.make_batch = make_batch
        self.length = length

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.length

    def __iter__(self) -> Iterator[BatchT]:
        """Make the batches of an epoch."""
        return (self.make_batch() for _ in range(self.length))

    def state_dict(self) -> dict[str, Any]:
        """Return no state: Lightning counts the batches, and whoever makes them has the rest."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing; Lightning resumes within an epoch only if this method exists."""


class EnvironmentDataModule(BaseDataModule):
    """Environments for training and for evaluation.

    The task makes the training batches: an algorithm of Stable-Baselines3 collects them in ``train_env``. Environment i
    has the seed ``seed + i`` as in SB3, on whichever rank it runs, so ranks collect different rollouts, which together
    are those of a single process. Evaluation always starts from the same seeds, which differ from those of training;
    its episodes are always the same unless an environment keeps something after a reset, such as a level.

    Args:
        env_id: as registered with Gymnasium; ``module:id`` first imports a module, which registers it. Atari games are
            wrapped by SB3's ``AtariWrapper`` and need ids such as ``PongNoFrameskip-v4``.
        n_envs: number of training environments, summed over all ranks.
        backend: ``"sb3"``, ``"subproc"`` (one process an environment), or, only for Atari, ``"lean"`` (equal to
            ``"sb3"`` bit for bit, and faster) and ``"ale"`` (faster still, but a different environment: see
            :class:`~lightning_coordconv.rl.environments.ale.AleVecEnv`). With ``"subproc"`` and ``"ale"`` environments
            start anew when a run is resumed.
        frame_stack: observations that are stacked, the newest last.
        rollouts_per_epoch: length of an epoch.
        eval_episodes: episodes of an evaluation, summed over all ranks.
        n_eval_envs: environments in which they are played side by side, on each rank.
        env_kwargs: arguments of the environment, which override the registered ones.
        wrapper_kwargs: arguments of SB3's ``AtariWrapper``.
        seed: of the first environment, of the policy and of its actions.
        max_eval_steps: an episode of an evaluation is cut after so many steps and counts with its reward so far. The
            default is the usual limit of Atari games, 30 minutes of play or 108,000 screens, of which an agent sees
            every fourth (Machado et al., 2018).

    Raises:
        ValueError: if there is no such environment, the backend or the wrapper does not support it, a number is out of
            its range, or the environments cannot be divided among the ranks.
    """

    sample_keys: frozenset[str] = frozenset({"rollout"})

    def __init__(
        self,
        env_id: str,
        n_envs: int = 8,
        backend: Backend = "sb3",
        frame_stack: int = 1,
        rollouts_per_epoch: int = 100,
        eval_episodes: int = 10,
        n_eval_envs: int = 1,
        env_kwargs: dict[str, Any] | None = None,
        wrapper_kwargs: dict[str, Any] | None = None,
        seed: int = 0,
        max_eval_steps: int = 27_000,
    ) -> None:
        super().__init__(seed=seed)
        check_ranges(
            n_envs=n_envs,
            frame_stack=frame_stack,
            rollouts_per_epoch=rollouts_per_epoch,
            eval_episodes=eval_episodes,
            n_eval_envs=n_eval_envs,
            max_eval_steps=max_eval_steps,
            seed=seed,
        )
        self.env_id = env_id
        self.n_envs = n_envs
        self.backend = backend
        self.frame_stack = frame_stack
        self.rollouts_per_epoch = rollouts_per_epoch
        self.eval_episodes = eval_episodes
        self.n_eval_envs = n_eval_envs
        self.max_eval_steps = max_eval_steps
        self.env_kwargs = copy_plain(env_kwargs or {})
        self.wrapper_kwargs = copy_plain(wrapper_kwargs or {})
        self.spec = find(env_id, backend, self.env_kwargs, self.wrapper_kwargs)
        self.train_env: VecEnv | None = None
        self.eval_env: VecEnv | None = None

    def setup(self, stage: str) -> None:
        """Make the environments of this rank."""
        world_size = self.trainer.world_size if self.trainer else 1
        if self.n_envs % world_size:
            raise ValueError(f"n_envs={self.n_envs} environments cannot be divided among {world_size} ranks")
        if stage == "fit":
            self.train_env = self._make(self.n_envs // world_size, self.backend)
            report_far_actions(self.train_env.action_space, self.env_id)
        # the scores of ALE's own vector environment are not comparable with SB3's
        self.eval_env = self._make(self.n_eval_envs, "lean" if self.backend == "ale" else self.backend)
        report_statistics(self.eval_env, self.env_id)

    def make_dataset(self, split: Split) -> RandomSteps:
        """Collect what a random agent sees in the training environments, and its rewards; training does not read it."""
        env = self._make(self.n_envs, "sb3" if self.backend == "ale" else self.backend)
        try:
            return RandomSteps(env, self.seed)
        finally:
            env.close()

    def describe(self) -> dict[str, Any]:
        """Return ``environment``, the arguments that evaluation depends on, unless they are no plain data."""
        arguments = self._arguments(EVALUATION)
        return {**super().describe(), "environment": arguments} if arguments else super().describe()

    def seed_training(self, shift: int = 0) -> None:
        """Seed the next reset of the training environments with the seeds of this rank.

        Args:
            shift: added to the seeds.
        """
        assert self.train_env is not None
        self.train_env.seed(self.seed + shift + self._rank() * self.train_env.num_envs)

    def evaluation_seed(self, stage: str) -> int:
        """Return the seed of the first episode that ``"val"``, ``"test"`` or ``"predict"`` plays."""
        return self.seed + EVALUATION_SEEDS[stage]

    def train_dataloader(self) -> Any:
        """Return the minibatches of an epoch, which the task collects."""
        assert self.trainer is not None
        teach(self)
        task: Any = self.trainer.lightning_module
        return Batches(task.next_minibatch, self.rollouts_per_epoch * task.minibatches_per_rollout())

    def val_dataloader(self) -> Any:
        """Return one batch, the number of episodes that this rank plays."""
        return self._episodes()

    def test_dataloader(self) -> Any:
        """Return the same."""
        return self._episodes()

    def predict_dataloader(self) -> DataLoader[int]:
        """Return one batch, the indices of the episodes that this rank plays."""
        return DataLoader(range(self.eval_episodes), batch_size=self.eval_episodes)  # type: ignore[arg-type]

    def teardown(self, stage: str) -> None:
        """Close the environments; their state can still be saved."""
        for env in (self.train_env, self.eval_env):
            if env is not None:
                env.close()

    def snapshot(self) -> dict[str, Any] | None:
        """Return the state of this rank's environments as plain data; ``None`` if it cannot be saved.

        That of evaluation environments is left out, with the reason, where only it cannot be saved, as after rendering.
        """
        assert self.train_env is not None
        assert self.eval_env is not None
        reason = None
        for evaluation in ([self.eval_env], []):
            try:
                state = snapshot(self.train_env, *evaluation)
                return {**state, "arguments": self._arguments((*TRAINING, "n_eval_envs")), "left_out": reason}
            except NoSnapshotError as error:
                reason = str(error)
        rank_zero_warn(f"{reason}: when this run is resumed, its environments start anew")
        return None

    def restore(self, state: dict[str, Any] | None) -> None:
        """Restore the state of this rank's environments; a warning says why those of evaluation start anew.

        Raises:
            NoSnapshotError: if there is none, or it does not fit the training environments.
        """
        assert self.train_env is not None
        assert self.eval_env is not None
        if state is None:
            raise NoSnapshotError("the checkpoint does not hold the state of the environments")
        saved = dict(state.get("arguments") or ())  # restored environments keep those that they were made with
        changed = [name for name in TRAINING if name in saved and saved[name] != getattr(self, name)]
        if changed:
            was = ", ".join(f"{name} was {saved[name]!r} and is {getattr(self, name)!r}" for name in changed)
            raise NoSnapshotError(f"the state in the checkpoint is that of other environments, {was}")
        reason, number = state.get("left_out"), saved.get("n_eval_envs", self.n_eval_envs)
        if number != self.n_eval_envs:
            reason = f"n_eval_envs was {number} and is {self.n_eval_envs}"
        restore(self.train_env, state, *([] if reason else [self.eval_env]))
        if reason:
            rank_zero_warn(f"{reason}: the evaluation environments start anew")

    def _arguments(self, names: Sequence[str]) -> dict[str, Any] | None:
        """Return some arguments, to be saved in checkpoints; ``None`` if they are no plain data."""
        arguments = {name: getattr(self, name) for name in names}
        try:
            check_plain(arguments, "environment")
        except UntrustedCheckpointError:
            return None
        return arguments

    def _make(self, n_envs: int, backend: Backend) -> VecEnv:
        """Make a vector of environments.

        Raises:
            ValueError: with the reason, if they cannot be made with the ``env_kwargs`` or ``wrapper_kwargs`` given.
        """
        given = {name: value for name in ("env_kwargs", "wrapper_kwargs") if (value := getattr(self, name))}
        try:
            if given and backend == "subproc":
                make(self.spec, 1, "sb3", self.frame_stack, self.wrapper_kwargs).close()  # a process hides the reason
            return make(self.spec, n_envs, backend, self.frame_stack, self.wrapper_kwargs)
        except EnvironmentCrashError as error:
            if not given:
                raise
            arguments = " and ".join(f"{name} {value}" for name, value in given.items())
            raise ValueError(f"{error}; check {arguments}") from error

    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    def _episodes(self) -> Batches[int]:
        world_size = self.trainer.world_size if self.trainer else 1
        share = len(range(self._rank(), self.eval_episodes, world_size))
        return Batches(lambda: share, 1)
