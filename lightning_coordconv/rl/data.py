"""Environments for agents, and loaders over what an agent collects in them."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from pytorch_lightning.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.extras import extra
from lightning_coordconv.rl.environments.snapshots import NoSnapshotError, restore, snapshot
from lightning_coordconv.rl.environments.vector import Backend, find, make

with extra("rl", "environments"):
    from stable_baselines3.common.vec_env import VecEnv

BatchT = TypeVar("BatchT")


class Batches(Generic[BatchT]):
    """As many batches as it says, each made when it is asked for.

    Lightning fetches ahead of an iterable without a length, and a batch collected ahead comes from a policy that is out
    of date. Nor would a ``DataLoader`` do: it draws from torch's global generator, from which actions are sampled.

    Args:
        make_batch: makes the next one.
        length: how many there are in an epoch.
    """

    def __init__(self, make_batch: Callable[[], BatchT], length: int) -> None:
        self.make_batch = make_batch
        self.length = length

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self.length

    def __iter__(self) -> Iterator[BatchT]:
        """Go on with the next batch."""
        return (self.make_batch() for _ in range(self.length))

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: how far an epoch is Lightning counts, and what comes next is the state of who makes it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing; Lightning asks for it, to know that an epoch can be resumed in its middle."""


class EnvironmentDataModule(BaseDataModule):
    """Environments to train in and to be evaluated in.

    Training batches are made by the task: an algorithm of Stable-Baselines3 collects them in ``train_env``. Environment
    i has the seed ``seed + i`` as in SB3, whatever rank it lives on, so ranks collect different rollouts, and together
    those of a single process. Evaluation always starts from the same seeds, others than those of training.

    Args:
        env_id: as registered with Gymnasium; ``module:id`` imports a module that registers it first. Atari games go
            through SB3's ``AtariWrapper`` and want ids like ``PongNoFrameskip-v4``.
        n_envs: environments to train in, over all ranks together.
        backend: ``"sb3"``, ``"subproc"``, or for Atari alone ``"lean"`` (equal bit for bit to ``"sb3"``, and faster)
            and ``"ale"`` (faster still, and another environment: see
            :class:`~lightning_coordconv.rl.environments.ale.AleVecEnv`). With ``"subproc"`` and ``"ale"`` environments
            start anew when a run is resumed.
        frame_stack: observations in one, the newest last.
        rollouts_per_epoch: an epoch is so many rollouts.
        eval_episodes: episodes to be evaluated on, over all ranks together.
        n_eval_envs: environments in which these are played side by side, per rank.
        env_kwargs: arguments of the environment, beside its registered ones.
        wrapper_kwargs: arguments of SB3's ``AtariWrapper``.
        seed: of the first environment, and of the policy and its actions.

    Raises:
        ValueError: if there is no such environment, it does not go with the backend or with the wrapper, a number is
            not positive, or the environments can't be divided among the ranks.
    """

    sample_keys: ClassVar[frozenset[str]] = frozenset({"rollout"})

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
    ) -> None:
        super().__init__(seed=seed)
        numbers = {"n_envs": n_envs, "frame_stack": frame_stack, "rollouts_per_epoch": rollouts_per_epoch}
        for name, number in (numbers | {"eval_episodes": eval_episodes, "n_eval_envs": n_eval_envs}).items():
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")
        self.env_id = env_id
        self.n_envs = n_envs
        self.backend = backend
        self.frame_stack = frame_stack
        self.rollouts_per_epoch = rollouts_per_epoch
        self.eval_episodes = eval_episodes
        self.n_eval_envs = n_eval_envs
        self.wrapper_kwargs = wrapper_kwargs or {}
        self.spec = find(env_id, backend, env_kwargs or {}, self.wrapper_kwargs)
        self.train_env: VecEnv | None = None
        self.eval_env: VecEnv | None = None

    def setup(self, stage: str) -> None:
        """Make the environments of this rank."""
        world_size = self.trainer.world_size if self.trainer else 1
        if self.n_envs % world_size:
            raise ValueError(f"n_envs={self.n_envs} environments cannot be divided among {world_size} ranks")
        if stage == "fit":
            self.train_env = self._make(self.n_envs // world_size, self.backend)
        # what ALE's threads show is another environment, in which scores are not SB3's
        self.eval_env = self._make(self.n_eval_envs, "lean" if self.backend == "ale" else self.backend)

    def seed_training(self, shift: int = 0) -> None:
        """Have the next reset of the training environments start from the seeds of this rank, or others.

        Args:
            shift: added to the seeds.
        """
        assert self.train_env is not None
        self.train_env.seed(self.seed + shift + self._rank() * self.train_env.num_envs)

    def train_dataloader(self) -> Any:
        """Return the minibatches of an epoch, which the task collects."""
        assert self.trainer is not None
        task: Any = self.trainer.lightning_module
        return Batches(task.next_minibatch, self.rollouts_per_epoch * task.minibatches_per_rollout())

    def val_dataloader(self) -> Any:
        """Return one batch, the number of episodes that this rank plays."""
        return self._episodes()

    def test_dataloader(self) -> Any:
        """Return the same."""
        return self._episodes()

    def predict_dataloader(self) -> DataLoader[int]:
        """Return one batch, the numbers of the episodes that this rank plays."""
        return DataLoader(range(self.eval_episodes), batch_size=self.eval_episodes)  # type: ignore[arg-type]

    def teardown(self, stage: str) -> None:
        """Close the environments; what state they were in can be asked for still."""
        for env in (self.train_env, self.eval_env):
            if env is not None:
                env.close()

    def snapshot(self) -> list[Any] | None:
        """Return the state of this rank's training environments as plain data, or None if it can't be had."""
        assert self.train_env is not None
        try:
            return snapshot(self.train_env)
        except NoSnapshotError as error:
            rank_zero_warn(f"{error}: when this run is resumed, its environments start anew")
            return None

    def restore(self, state: list[Any]) -> None:
        """Put this rank's training environments into a state that they had."""
        assert self.train_env is not None
        restore(self.train_env, state)

    def _make(self, n_envs: int, backend: Backend) -> VecEnv:
        return make(self.spec, n_envs, backend, self.frame_stack, self.wrapper_kwargs)

    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    def _episodes(self) -> Batches[int]:
        world_size = self.trainer.world_size if self.trainer else 1
        share = len(range(self._rank(), self.eval_episodes, world_size))
        return Batches(lambda: share, 1)
