"""Trains A2C on nine Atari games with and without CoordConv: ``python -m benchmarks.atari --seeds 0 1 2``.

The paper has nine games and names only MsPacman; the other eight here are our choice. Each run is 10 M environment
steps by default. ``python -m benchmarks.results --collect logs`` gathers what came of it, and
``python -m benchmarks.curves rl/a2c_<game>_conv rl/a2c_<game>_coordconv`` shows it, finished or not in all seeds.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.sweep import run

GAMES = ("MsPacman", "Alien", "Amidar", "BankHeist", "Breakout", "Pong", "Qbert", "Seaquest", "SpaceInvaders")
ARMS = ("conv", "coordconv")
CONFIGS = Path(__file__).parents[1] / "configs" / "rl"


def jobs(games: list[str], steps: int, extra: list[str]) -> list[tuple[str, Path, list[str]]]:
    """Return name, config and further arguments of each experiment, the arms of a game side by side."""
    return [
        (
            f"a2c_{game.lower()}_{arm}",
            CONFIGS / f"a2c_pong_{arm}.yaml",
            [
                f"--data.env_id={game}NoFrameskip-v4",
                f"--model.total_timesteps={steps}",
                f"--trainer.logger.init_args.name=rl/a2c_{game.lower()}_{arm}",
                *extra,
            ],
        )
        for game in games
        for arm in ARMS
    ]


def main() -> int:
    """Run everything, and return 1 if any run failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", nargs="+", default=list(GAMES))
    parser.add_argument("--steps", type=int, default=10_000_000, help="in all environments of a run")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads per run")
    arguments, extra = parser.parse_known_args()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = [
            pool.submit(run, config, seed, arguments.threads, more, name)
            for seed in arguments.seeds
            for name, config, more in jobs(arguments.games, arguments.steps, extra)
        ]
    return int(any(future.result() for future in runs))


if __name__ == "__main__":
    sys.exit(main())
