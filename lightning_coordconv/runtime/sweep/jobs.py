"""Describes and starts the runs of a sweep: each is a process, whose folder is named after its seed and options."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_coordconv.runtime import configs
from lightning_coordconv.runtime.sweep.processes import processes


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
        return configs.experiment(configs.find(self.config))

    @property
    def version(self) -> str:
        """The seed, and a digest of the configs and the options: with others it is another run."""
        return f"seed{self.seed}-{self.digest}"

    @property
    def digest(self) -> str:
        """Of the configs and the options, with the contents of the YAML files that they name."""
        texts = [*self.options]
        for path in [*configs.find(self.config), *(Path(option.partition("=")[2]) for option in self.options)]:
            if configs.is_yaml_file(path):
                texts += read_with_named(path).values()
        return digest_of(texts)

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.logs / self.experiment / self.version

    def summary(self) -> dict[str, Any] | None:
        """Return the summary of a finished run; None if the run has not finished its test."""
        path = self.folder / "summary.json"
        try:
            summary: dict[str, Any] = json.loads(path.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return summary if summary.get("test") else None

    def run(self, threads: int) -> int:
        """Train, from the last checkpoint if the run was interrupted, and return the exit code; 0 if it had finished.

        Output goes to ``output.log`` in the folder.
        """
        if self.summary() is not None:
            print(f"{self.folder}: finished before", flush=True)
            return 0
        names = {"save_dir": str(self.logs), "name": self.experiment, "version": self.version}
        logger = [f"--trainer.logger.init_args.{name}={value}" for name, value in names.items()]
        output = self.folder / "output.log"
        code = fit(self.config, self.seed, threads, [*self.options, *logger, "--ckpt_path=last"], output)
        print(f"{self.folder}: {'done' if code == 0 else f'exit code {code}, {last_line(output)}'}", flush=True)
        return code


def digest_of(texts: Iterable[str]) -> str:
    """Return eight hexadecimal digits that differ where any of the texts, or their order, differs."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]


def read_with_named(path: Path, known: Mapping[Path, str] | None = None) -> dict[Path, str]:
    """Return the text of a YAML file, and of those that it names, as ``data: data.yaml``, by their paths."""
    found = {**(known or {}), path.resolve(): path.read_text()}
    for name in re.findall(r"[^\s'\"\[\]{},:]+\.ya?ml\b", found[path.resolve()]):
        file = (path.parent / name).resolve()
        if file not in found and configs.is_yaml_file(file):
            found |= read_with_named(file, found)
    return found


def fit(config: str | Path, seed: int, threads: int, options: Sequence[str], output: Path) -> int:
    """Run ``lightning-coordconv fit`` in a new process, and return its exit code.

    Args:
        config: a path or a name.
        seed: of the run.
        threads: of torch.
        options: further arguments of the command line.
        output: the file that the process's output is appended to.
    """
    command = [sys.executable, "-m", "lightning_coordconv", "fit", "-c", str(config), "--seed_everything", str(seed)]
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("a") as file:
        return processes.call(
            [*command, "--trainer.enable_progress_bar", "false", *options],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )


def last_line(output: Path) -> str:
    """Return the last line of a run's output, and where the rest is."""
    lines = output.read_text().strip().splitlines()
    return f"{lines[-1]} ({output})" if lines else str(output)
