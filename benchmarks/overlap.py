"""Measures whether Atari emulators that run while the policy computes save time: ``python -m benchmarks.overlap``.

An agent acts in ``ale`` environments in three ways:

- ``whole``: one vector of all games, as :class:`~lightning_coordconv.rl.EnvironmentDataModule` makes it. The policy
  waits for the emulators, and they wait for the policy.
- ``halves``: two vectors of half the games, one after the other.
- ``overlapped``: the same two vectors. The emulators of one half run while the policy chooses actions for the other.
  Actions, frames and rewards are those of ``halves``, bit for bit, so the rollouts stay on-policy.

The three take turns in rounds. The table shows the median of a step's time, and of its ratio to ``whole``.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticCnnPolicy

from benchmarks.measure import environment
from benchmarks.rl import POLICY
from lightning_coordconv.rl.environments.ale import AleVecEnv

RESULTS = Path(__file__).parent / "results" / "rl-overlap.json"
ROLLOUT = 5  # steps of A2C


class Actor:
    """A policy that acts in vectors of games.

    Args:
        games: number of games in each vector.
        threads: of the emulators of a vector.
        act: returns the actions for observations; by default those of an untrained policy.
    """

    def __init__(self, games: Sequence[int], threads: int, act: Callable[[Any], Any] | None = None) -> None:
        self.parts = [AleVecEnv(count, 4, game="pong", num_threads=threads) for count in games]
        space, actions = self.parts[0].observation_space, self.parts[0].action_space
        self.policy = ActorCriticCnnPolicy(space, actions, lambda _: 1e-3, **POLICY).eval()
        self.act = act or self.sample
        self.seen: list[Any] = []
        for i, part in enumerate(self.parts):
            part.seed(1000 * i)
            self.seen.append(part.reset())

    def sample(self, observations: Any) -> Any:
        """Return sampled actions."""
        with torch.no_grad():
            return self.policy(torch.as_tensor(observations))[0].numpy()

    def in_turn(self) -> list[Any]:
        """Make a rollout, each vector after the other, and return its frames."""
        frames = []
        for _ in range(ROLLOUT):
            for i, part in enumerate(self.parts):
                part.step_async(self.act(self.seen[i]))
                self.seen[i] = part.step_wait()[0]
            frames.append(np.concatenate(self.seen))
        return frames

    def overlapped(self) -> list[Any]:
        """Make the same rollout, with each half's emulators beside the policy's work for the other half."""
        first, second = self.parts
        frames = []
        first.step_async(self.act(self.seen[0]))
        for step in range(ROLLOUT):
            second.step_async(self.act(self.seen[1]))
            self.seen[0] = first.step_wait()[0]
            current = self.seen[0]
            if step < ROLLOUT - 1:
                first.step_async(self.act(current))
            self.seen[1] = second.step_wait()[0]
            frames.append(np.concatenate([current, self.seen[1]]))
        return frames


def measure(games: int, threads: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the milliseconds of a step of each way, and its ratio to ``whole`` with quartiles."""
    halves = [games // 2] * 2
    ways = {
        "whole": Actor([games], threads).in_turn,
        "halves": Actor(halves, threads).in_turn,
        "overlapped": Actor(halves, threads).overlapped,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    results = {}
    for name, times in seconds.items():
        ratios = [mine / whole for mine, whole in zip(times[1:], seconds["whole"][1:], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        milliseconds = 1e3 * statistics.median(times[1:]) / ROLLOUT
        results[name] = {"milliseconds": milliseconds, "ratio": middle, "low": low, "high": high}
    return results


def main() -> None:
    """Measure, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--save", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = {"environment": environment(torch.device("cpu")), "games": options.games}
    for threads in (1, 2):
        found = results[f"{threads} emulator threads"] = measure(options.games, threads, options.rounds)
        for name, row in found.items():
            ratio = f"{row['ratio']:.2f} ({row['low']:.2f}-{row['high']:.2f})"
            print(f"{threads} emulator threads, {name}: {row['milliseconds']:.1f} ms a step, {ratio} of whole's")
    options.save.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
