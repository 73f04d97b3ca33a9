"""Function that trains a config with one seed in a new process and reports its exit code, for other benchmarks.

``lightning-coordconv sweep CONFIG... --seeds 0 1 2`` runs configs over seeds.
"""

from pathlib import Path

from lightning_coordconv.runtime.sweep import jobs


def run(config: str | Path, seed: int, threads: int, extra: list[str], name: str) -> int:
    """Fit one config with one seed in a new process, and return its exit code.

    Args:
        config: a path or a name.
        seed: of the run.
        threads: of torch.
        extra: further arguments of the command line.
        name: of the log file in ``logs/sweep/``.
    """
    log = Path("logs", "sweep", f"{name}_seed{seed}.log")
    code = jobs.fit(config, seed, threads, extra, log)
    print(f"{name} seed {seed}: exit {code}, {log}", flush=True)
    return code
