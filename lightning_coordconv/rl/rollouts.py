"""Resumable class that collects Stable-Baselines3's rollouts in minibatches, and a function that counts minibatches."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.state_codec import decode_state, encode_state
from lightning_coordconv.rl import _sb3

with extra("rl", "agents"):
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
    from stable_baselines3.common.type_aliases import RolloutBufferSamples

EPISODES = ("ep_info_buffer", "ep_success_buffer")
COLUMNS = ("observations", "actions", "values", "log_probs", "advantages", "returns")


class Rollouts:
    """Minibatches of rollouts, in the order and with the random numbers of SB3's ``learn``.

    SB3 nests its loops: it collects a rollout, then makes some passes over it, each in random order. Here the consumer
    drives the loops: :meth:`next` collects when all minibatches are used, and never before, so that each rollout comes
    from the newest policy.

    Args:
        algorithm: collects; its ``learn`` has been set up.
        callback: SB3 calls it during collection.
        total_timesteps: steps in all environments of all ranks, over which schedules run.
        world_size: number of ranks, each with as many environments.
        n_epochs: passes over a rollout.
        batch_size: of a minibatch of this rank; the whole rollout if ``None``.
    """

    def __init__(
        self,
        algorithm: OnPolicyAlgorithm,
        callback: BaseCallback,
        total_timesteps: int,
        world_size: int = 1,
        n_epochs: int = 1,
        batch_size: int | None = None,
    ) -> None:
        self.algorithm = algorithm
        self.callback = callback
        self.total_timesteps = total_timesteps
        self.world_size = world_size
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.per_pass = minibatches_per_pass(algorithm, batch_size)
        self.passes = n_epochs
        self.taken = self.per_pass
        self.minibatches: Iterator[RolloutBufferSamples] = iter(())
        self.pass_random_state: Any = None

    @property
    def timesteps(self) -> int:
        """Steps in all environments of all ranks so far."""
        return self.algorithm.num_timesteps * self.world_size

    @property
    def finished(self) -> bool:
        """Whether all minibatches of the last rollout have been returned."""
        return self.passes == self.n_epochs and self.taken == self.per_pass

    def next(self) -> RolloutBufferSamples:
        """Return the next minibatch, of a new rollout if the last one is used up."""
        if self.finished:
            self.collect()
            self.passes = 0
            self.taken = self.per_pass
        if self.taken == self.per_pass:
            self._start_pass()
            self.passes += 1
            _sb3.count_update(self.algorithm)
        return self._take()

    def collect(self) -> None:
        """Let the policy act, and advance the schedules."""
        algorithm = self.algorithm
        assert algorithm.env is not None
        algorithm.collect_rollouts(algorithm.env, self.callback, algorithm.rollout_buffer, algorithm.n_steps)
        self.update_progress()
        algorithm.policy.set_training_mode(True)
        _sb3.update_learning_rate(algorithm)

    def update_progress(self) -> None:
        """Set how much of the run is left, of which the schedules are functions."""
        _sb3.set_progress(self.algorithm, self.timesteps, self.total_timesteps)

    def abandon(self) -> None:
        """Skip the remaining minibatches of this rollout."""
        self.passes, self.taken = self.n_epochs, self.per_pass

    def state_dict(self) -> dict[str, Any]:
        """Return everything the run depends on except environments, weights and random states, as plain data."""
        state = _sb3.get_counters(self.algorithm)
        state |= {name: list(getattr(self.algorithm, name)) for name in EPISODES}
        state |= {"passes": self.passes, "taken": self.taken, "shape": self._shape()}
        if not self.finished:
            state["pass_random_state"] = self.pass_random_state
            state["buffer"] = {name: getattr(self.algorithm.rollout_buffer, name) for name in COLUMNS}
        return encode_state(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`.

        Raises:
            ValueError: if the state is within a rollout of another shape.
        """
        state = decode_state(state)
        shape, ours = state.get("shape", self._shape()), self._shape()
        if "buffer" in state and shape != ours:
            differing = [
                f"{name} {shape.get(name)} (now {ours[name]})" for name in ours if shape.get(name) != ours[name]
            ]
            raise ValueError(
                f"the checkpoint is within a rollout of {', '.join(differing)}: resume with these options, or from a "
                "checkpoint at the end of a rollout"
            )
        _sb3.set_counters(self.algorithm, state)
        for name in EPISODES:
            getattr(self.algorithm, name).extend(state[name])
        self.update_progress()
        if "buffer" not in state:
            self.abandon()
        else:
            self.passes, self.taken = state["passes"], state["taken"]
            buffer = self.algorithm.rollout_buffer
            for name, column in state["buffer"].items():
                setattr(buffer, name, column)
            buffer.full = buffer.generator_ready = True
            now = np.random.get_state()
            np.random.set_state(state["pass_random_state"])
            self._start_pass()
            for _ in range(state["taken"]):
                self._take()
            np.random.set_state(now)

    def _shape(self) -> dict[str, int | None]:
        """Return the options that say where a rollout ends."""
        algorithm = self.algorithm
        return {
            "n_steps": algorithm.n_steps,
            "n_envs": algorithm.n_envs,
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
        }

    def _take(self) -> RolloutBufferSamples:
        self.taken += 1
        return next(self.minibatches)

    def _start_pass(self) -> None:
        self.pass_random_state = np.random.get_state()
        self.minibatches = self.algorithm.rollout_buffer.get(self.batch_size)
        self.taken = 0


def minibatches_per_pass(algorithm: OnPolicyAlgorithm, batch_size: int | None) -> int:
    """Return how many minibatches one pass over a rollout has."""
    return 1 if batch_size is None else math.ceil(algorithm.n_steps * algorithm.n_envs / batch_size)
