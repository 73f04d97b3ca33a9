"""Run experiments with several seeds: ``python -m benchmarks.sweep CONFIG... --seeds 0 1 2``.

A config is a path, or a name as ``-c`` takes it. Each run writes ``summary.json`` under ``logs/``; its output goes to
``logs/sweep/``. ``python -m benchmarks.results --collect logs`` writes the tables.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def run(config: str | Path, seed: int, threads: int, extra: list[str], name: str | None = None) -> int:
    """Fit one config with one seed in a new process, and return its exit code.

    Args:
        config: a path or a name.
        seed: of the run.
        threads: of torch.
        extra: further arguments of the command line.
        name: of the log file; the config's by default.
    """
    name = Path(config).stem if name is None else name
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
    parser.add_argument("configs", nargs="+", help="paths or names")
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
