"""Class of one run of a sweep (config, seed, options, folder), and the function that runs ``fit`` in a process."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from lightning_coordconv.runtime import shipped_configs
from lightning_coordconv.runtime.config_files import Entry, files_of, modules_of, read_config, read_option
from lightning_coordconv.runtime.sweep.processes import processes
from lightning_coordconv.runtime.weights import LAST

RUNNING: dict[Path, Lock] = {}
"""Locks of the folders of runs: two trials of a search, at the same time, can have the same options."""


@dataclass(frozen=True)
class Job:
    """A run of ``lightning-coordconv fit``.

    Args:
        config: a path, or the name of a config or an experiment.
        seed: of everything.
        options: further arguments of ``fit``, each as ``--name=value``.
        logs: the folder of all logs.
    """

    config: str
    seed: int
    options: tuple[str, ...] = ()
    logs: Path = Path("logs")

    @property
    def experiment(self) -> str:
        """The name of the experiment."""
        return shipped_configs.experiment(shipped_configs.find(self.config))

    @property
    def entries(self) -> list[Entry]:
        """Every key of the configs, and of the files and options that add to them, in the order that they count in."""
        found = [entry for path in shipped_configs.find(self.config) for entry in read_config(path)]
        for option in self.options:
            name, _, value = option.partition("=")
            found += read_config(Path(value)) if name == "--config" else read_option(name, value)
        return found

    @cached_property  # of the files as the run starts: they can change while it trains
    def digest(self) -> str:
        """A digest of configs, the files and modules that they name, and options: with others it is another run."""
        entries = self.entries
        files = [*files_of(entries), *modules_of(entries)]
        parts = [*(path.read_text(encoding="utf-8") for path in files), *self.options]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]

    @property
    def version(self) -> str:
        """The seed and the digest."""
        return f"seed{self.seed}-{self.digest}"

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.logs / self.experiment / self.version

    def summary(self) -> dict[str, Any] | None:
        """Return the summary of a finished run; ``None`` if there is none, or the run has not finished its test."""
        path = self.folder / "summary.json"
        try:
            summary: dict[str, Any] = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return summary if "test" in summary else None

    def run(self, threads: int) -> int:
        """Train, from the last checkpoint if the run was interrupted, and return the exit code; 0 if it had finished.

        Output goes to ``output.log`` in the folder. If another thread trains the same run, this waits for its result.
        """
        with RUNNING.setdefault(self.folder, Lock()):
            return self._run(threads)

    def _run(self, threads: int) -> int:
        if self.summary() is not None:
            print(f"{self.folder}: finished before", flush=True)
            return 0
        names = {"save_dir": str(self.logs), "name": self.experiment, "version": self.version}
        logger = [f"--trainer.logger.init_args.{name}={value}" for name, value in names.items()]
        output = self.folder / "output.log"
        resume = ["--ckpt_path=last"] if (self.folder / "checkpoints" / LAST).exists() else []
        print(f"{self.folder}: {'resumed' if resume else 'started'}, its output is in {output.name} there", flush=True)
        code = fit(self.config, self.seed, threads, [*self.options, *logger, *resume], output)
        print(f"{self.folder}: {'done' if self.summary() else f'exit code {code}, {last_line(output)}'}", flush=True)
        return code


def fit(config: str | Path, seed: int, threads: int, options: Sequence[str], output: Path) -> int:
    """Run ``lightning-coordconv fit`` in a new process, and return its exit code.

    Args:
        config: a path or a name.
        seed: of the run.
        threads: of torch.
        options: further arguments of the command line.
        output: the file that the process's output is appended to.
    """
    command = [sys.executable, "-m", "lightning_coordconv", "fit", "-c", str(config)]
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("a") as file:
        return processes.call(
            [*command, *options, "--seed_everything", str(seed)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )


def last_line(output: Path) -> str:
    """Return the last line of a run's output, and where the rest is."""
    lines = output.read_text().strip().splitlines()
    return f"{lines[-1]} ({output})" if lines else str(output)
