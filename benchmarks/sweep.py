"""Run configs over seeds, several at a time, one thread each: ``python -m benchmarks.sweep CONFIG... --seeds 0 1 2``.

Each run writes its ``summary.json`` under ``logs/``; what it printed goes to ``logs/sweep/``. ``benchmarks.results``
makes the tables of them.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def run(config: Path, seed: int, threads: int, extra: list[str], name: str | None = None) -> int:
    """Fit one config with one seed in a process of its own, and return its exit code; its log bears the name."""
    name = config.stem if name is None else name
    command = [sys.executable, "-m", "lightning_coordconv", "fit", "-c", str(config), "--seed_everything", str(seed)]
    log = Path("logs", "sweep", f"{name}_seed{seed}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        code = subprocess.call(
            [*command, "--trainer.enable_progress_bar", "false", *extra],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
    print(f"{name} seed {seed}: exit {code}, {log}", flush=True)
    return code


def main() -> int:
    """Parse the arguments, run everything, and return 1 if any run failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="+", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads per run")
    arguments, extra = parser.parse_known_args()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = [
            pool.submit(run, config, seed, arguments.threads, extra)
            for seed in arguments.seeds
            for config in arguments.configs
        ]
    return int(any(future.result() for future in runs))


if __name__ == "__main__":
    sys.exit(main())
