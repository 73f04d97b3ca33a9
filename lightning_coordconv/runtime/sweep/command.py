"""The command ``lightning-coordconv sweep``: trains configs with several seeds, or searches hyperparameters."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from lightning_coordconv.core.arguments import MAX_SEED
from lightning_coordconv.runtime.comparison import command as comparison
from lightning_coordconv.runtime.errors import OneLineParser
from lightning_coordconv.runtime.locks import Lock
from lightning_coordconv.runtime.sweep.jobs import Job
from lightning_coordconv.runtime.sweep.processes import processes
from lightning_coordconv.runtime.sweep.search import best_value, open_study, optimize, parse_space

if TYPE_CHECKING:
    from optuna import Trial

CHOSEN = ("seed_everything", "ckpt_path", "trainer.logger.save_dir", "trainer.logger.name", "trainer.logger.version")
"""Options of ``fit`` that differ from run to run."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = OneLineParser(
        "lightning-coordconv sweep",
        description="Train configs with several seeds, one process and one thread a run, and compare them. Runs that "
        "have finished are skipped and interrupted ones resumed, so the command can be stopped and started again. "
        "Further arguments, as --name=value, are passed on to fit.",
        allow_abbrev=False,
    )
    parser.add_argument("configs", nargs="+", help="configs of fit: files, or names as `configs list` prints them")
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0], help="each config is trained with each; 0 by default"
    )
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; 1 by default")
    parser.add_argument("--threads", type=int, default=1, help="threads of a run; 1 by default")
    parser.add_argument("--logs", type=Path, default=Path("logs"), help="folder of the logs; logs by default")
    parser.add_argument(
        "--search", nargs="+", action="extend", default=[], metavar="OPTION=SPACE",
        help="search for options: model.optimizer.init_args.lr=loguniform(1e-4,1e-1); also uniform, int, choice",
    )  # fmt: skip
    parser.add_argument(
        "--trials", type=int, default=20, help="number of trials of a search, each with all seeds; 20 by default"
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--minimize", metavar="METRIC", help="metric of validation that a search lowers, such as val/loss"
    )
    target.add_argument(
        "--maximize", metavar="METRIC", help="metric of validation that a search raises, such as val/accuracy"
    )
    parser.add_argument("--study", type=Path, help="file that keeps a search; LOGS/CONFIG/study.log by default")
    return parser


def main(args: Sequence[str]) -> None:
    """Train everything, and print a comparison of what has finished."""
    parser = make_parser()
    known = vars(parser.parse_args(["config"]))
    # argparse would take an unknown option with a space in its value for the name of a config
    spaced = [word for word in args if re.match(r"--\S+?=.* ", word) and word[2:].partition("=")[0] not in known]
    arguments, options = parser.parse_known_args([word for word in args if word not in spaced])
    options = [word for word in args if word in {*options, *spaced}]
    check(arguments, options)
    done = search(arguments, options) if arguments.search else train_all(arguments, options)
    folders = [job.folder for job in done if job.summary() is not None]
    if folders:
        comparison.main(list(map(str, folders)))
    if len(folders) < len(done):
        raise SystemExit(f"error: {len(done) - len(folders)} of {len(done)} runs did not finish")


def check(arguments: argparse.Namespace, options: Sequence[str]) -> None:
    """Raise ValueError for arguments that cannot work, before anything is trained."""
    for option in ("jobs", "threads", "trials"):
        if getattr(arguments, option) < 1:
            raise ValueError(f"--{option} must be at least 1, got {getattr(arguments, option)}")
    if len(set(arguments.seeds)) < len(arguments.seeds):
        raise ValueError(f"--seeds must be different, got {' '.join(map(str, arguments.seeds))}")
    if not all(0 <= seed <= MAX_SEED for seed in arguments.seeds):
        raise ValueError(f"--seeds must be from 0 to {MAX_SEED}, got {' '.join(map(str, arguments.seeds))}")
    if "print_config" in map(short, options):
        raise ValueError("a sweep trains, and prints no config: give --print_config to fit")
    wrong = [option for option in options if not (option.startswith("--") and "=" in option)]
    if wrong:
        raise ValueError(f"arguments for fit are written --name=value, got {' '.join(wrong)}")
    spaces = [parse_space(text) for text in arguments.search]
    names = [short(option) for option in options] + [short(space.option) for space in spaces]
    chosen = [text for text, name in zip([*options, *arguments.search], names, strict=True) if name in CHOSEN]
    if chosen:
        raise ValueError(
            f"a sweep sets {', '.join(CHOSEN)} for each run, by --seeds and --logs: leave out {' '.join(chosen)}"
        )
    for space in spaces:
        if names.count(short(space.option)) > 1:
            raise ValueError(f"--search looks for {space.option}, which is given a second time: leave out one of them")
    jobs = {config: Job(config, arguments.seeds[0], tuple(options), arguments.logs) for config in arguments.configs}
    for config, job in jobs.items():
        check_logger(config, job)
        check_result(config, job)
    if len({job.folder for job in jobs.values()}) < len(arguments.configs):
        raise ValueError(f"the configs of a sweep must be different, got {' '.join(arguments.configs)}")
    if not arguments.search and (arguments.minimize or arguments.maximize or arguments.study):
        raise ValueError("--minimize, --maximize and --study belong to a --search")
    if arguments.search and not (arguments.minimize or arguments.maximize):
        raise ValueError("a --search needs --minimize METRIC or --maximize METRIC, of validation")
    metric = arguments.maximize or arguments.minimize
    if metric and not metric.startswith("val/"):
        raise ValueError(f"--minimize and --maximize take a metric of validation, such as val/loss, got {metric!r}")
    if arguments.search and len(arguments.configs) > 1:
        raise ValueError(f"a --search takes one config, got {' '.join(arguments.configs)}")


def short(option: str) -> str:
    """Return the name of an option without dashes, its value, and ``init_args``, which may be left out."""
    return option.removeprefix("--").partition("=")[0].replace(".init_args", "")


def check_logger(config: str, job: Job) -> None:
    """Raise ValueError for a run without exactly one logger, whose folder is that of the run."""
    loggers = [entry.value for entry in job.entries if entry.name == "trainer.logger"]
    value = loggers[-1] if loggers else None
    if isinstance(value, yaml.SequenceNode) or (
        isinstance(value, yaml.ScalarNode) and value.value.lower() in ("true", "false")
    ):
        raise ValueError(f"a sweep names the folder of a run by its logger: give {config} one logger, as a class")


def check_result(config: str, job: Job) -> None:
    """Raise ValueError for runs of a few batches that only look for faults, and write no summary."""
    values = [entry.value.value for entry in job.entries if entry.name == "trainer.fast_dev_run"]
    if values and str(values[-1]).lower() not in ("false", "0", "null"):
        raise ValueError(f"a sweep compares results, and trainer.fast_dev_run leaves none: leave it out of {config}")


def train_all(arguments: argparse.Namespace, options: Sequence[str]) -> list[Job]:
    """Train each config with each seed, and return all runs, including those that failed."""
    jobs = [
        Job(config, seed, tuple(options), arguments.logs) for seed in arguments.seeds for config in arguments.configs
    ]
    processes.map(lambda job: job.run(arguments.threads), jobs, arguments.jobs)
    return sorted(jobs, key=lambda job: arguments.configs.index(job.config))


def search(arguments: argparse.Namespace, options: Sequence[str]) -> list[Job]:
    """Search for options, print the best, and return the finished runs of all trials.

    A study belongs to a config, further options, seeds, a metric and the spaces that it searches: with others a new one
    begins in the same file.

    Raises:
        ValueError: if a run fails, or another process uses the file of the study.
    """
    (config,) = arguments.configs
    spaces = [parse_space(text) for text in arguments.search]
    metric, maximize = arguments.maximize or arguments.minimize, arguments.maximize is not None

    def jobs_with(chosen: Sequence[str]) -> list[Job]:
        return [Job(config, seed, (*options, *chosen), arguments.logs) for seed in arguments.seeds]

    def objective(trial: "Trial") -> float:
        jobs = jobs_with(to_arguments({space.option: space.suggest(trial) for space in spaces}))
        for job in jobs:
            if job.run(arguments.threads) or job.summary() is None:
                raise ValueError(f"a run failed, so the search stops: {job.folder / 'output.log'}")
        return best_value([summary for job in jobs if (summary := job.summary())], metric, maximize)

    job = jobs_with(())[0]
    goal = f"{'maximize' if maximize else 'minimize'} {metric}, seeds {' '.join(map(str, sorted(arguments.seeds)))}"
    file = arguments.study or arguments.logs / job.experiment / "study.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    lock = Lock(file)
    if not lock.take():
        raise ValueError(f"another search is writing to {file}: give --study another file, or wait for its end")
    searched = ", ".join(sorted(f"{space.option}={space.kind}{space.values}" for space in spaces))
    study = open_study(file, f"{job.experiment}-{job.digest}: {goal}, {searched}", maximize)
    try:
        optimize(study, objective, arguments.trials, arguments.jobs)
    finally:
        lock.release()
    best = to_arguments(study.best_params)
    value = f"best {metric} of each run {study.best_value:.6g}{' on average' if len(arguments.seeds) > 1 else ''}"
    folders = ", ".join(str(job.folder) for job in jobs_with(best))
    print(f"best of {len(study.trials)} trials, {value}: {' '.join(best)}, in {folders}", flush=True)
    jobs = [job for trial in study.trials for job in jobs_with(to_arguments(trial.params))]
    return [job for job in dict.fromkeys(jobs) if job.summary() is not None]


def to_arguments(parameters: Mapping[str, object]) -> list[str]:
    """Return the arguments of the command line for options and their values, in the order of the names."""
    return [f"--{option}={value}" for option, value in sorted(parameters.items())]
