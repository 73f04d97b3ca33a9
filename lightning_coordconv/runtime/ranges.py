"""Tables of allowed values of a run's options, mostly ranges of numbers, and the function that checks them."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

Check = tuple[Callable[[Any], bool], str]

POSITIVE: Check = (lambda value: value > 0, "greater than 0")
NOT_NEGATIVE: Check = (lambda value: value >= 0, "at least 0")
AT_LEAST_1: Check = (lambda value: value >= 1, "at least 1")
UNLIMITED: Check = (lambda value: value >= 1 or value == -1, "at least 1, or -1 for no limit")
BATCHES: Check = (
    lambda value: value >= 0 and (isinstance(value, int) or value <= 1),
    "a number of batches, or a share of them from 0.0 to 1.0",
)
INTERVAL: Check = (
    lambda value: not isinstance(value, int | float) or (value > 0 and (isinstance(value, int) or value <= 1)),
    "a positive number of batches, or a share of an epoch up to 1.0",
)
SHARE: Check = (lambda value: 0 <= value <= 1, "from 0 to 1")
SANITY: Check = (lambda value: value >= -1, "at least 0, or -1 for all batches")
UNITS = ("weeks", "days", "hours", "minutes", "seconds")
DURATION: Check = (
    lambda value: not isinstance(value, Mapping) or set(value) <= set(UNITS),
    f"DD:HH:MM:SS, or have only the keys {', '.join(UNITS)}",
)
RUN_FOLDER: Check = (
    lambda value: not PurePath(str(value)).is_absolute() and ".." not in PurePath(str(value)).parts,
    "a relative path without '..'",
)

TRAINER: dict[str, Check] = {
    "accumulate_grad_batches": AT_LEAST_1,
    "check_val_every_n_epoch": AT_LEAST_1,
    "gradient_clip_val": NOT_NEGATIVE,
    "limit_predict_batches": BATCHES,
    "limit_test_batches": BATCHES,
    "limit_train_batches": (lambda value: value > 0 and BATCHES[0](value), f"greater than 0, {BATCHES[1]}"),
    "limit_val_batches": BATCHES,
    "log_every_n_steps": AT_LEAST_1,
    "max_epochs": UNLIMITED,
    "max_steps": UNLIMITED,
    "min_epochs": NOT_NEGATIVE,
    "min_steps": NOT_NEGATIVE,
    "num_nodes": AT_LEAST_1,
    "num_sanity_val_steps": SANITY,
    "overfit_batches": BATCHES,
    "reload_dataloaders_every_n_epochs": NOT_NEGATIVE,
    "val_check_interval": INTERVAL,
}
EVALUATED = {"validate": "limit_val_batches", "test": "limit_test_batches", "predict": "limit_predict_batches"}
"""Subcommands that only evaluate, and the option that limits their batches."""
LOGGER: dict[str, Check] = {"name": RUN_FOLDER, "version": RUN_FOLDER, "sub_dir": RUN_FOLDER}
ARGUMENTS: dict[str, Check] = {
    "T_0": AT_LEAST_1,
    "T_max": AT_LEAST_1,
    "base_lr": NOT_NEGATIVE,
    "batch_size": AT_LEAST_1,
    "clip_range": NOT_NEGATIVE,
    "coordinate_lr": NOT_NEGATIVE,
    "ent_coef": NOT_NEGATIVE,
    "eval_batch_size": AT_LEAST_1,
    "gae_lambda": SHARE,
    "gamma": SHARE,
    "learning_rate": NOT_NEGATIVE,
    "lr": NOT_NEGATIVE,
    "max_grad_norm": POSITIVE,
    "max_lr": POSITIVE,
    "momentum": NOT_NEGATIVE,
    "n_steps": AT_LEAST_1,
    "num_workers": NOT_NEGATIVE,
    "seed": NOT_NEGATIVE,
    "step_size": AT_LEAST_1,
    "step_size_down": AT_LEAST_1,
    "step_size_up": AT_LEAST_1,
    "total_iters": AT_LEAST_1,
    "total_steps": AT_LEAST_1,
    "total_timesteps": AT_LEAST_1,
    "warmup_steps": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
}
"""Arguments that mean the same in every class of tasks, data, optimisers and schedules of ``CHECKED`` that has them."""
CHECKED = ("lightning_coordconv", "stable_baselines3", "torch", "torchvision")
"""Packages whose classes are checked: an argument of a user's class can have the same name and another range."""


def check_ranges(options: Mapping[str, Any], subcommand: str | None = None) -> None:
    """Check the numbers of a configuration.

    Args:
        options: the configuration of a subcommand as nested dicts, with the keys ``trainer``, ``model`` and ``data``.
        subcommand: its name; one that evaluates must have a batch to evaluate.

    Raises:
        ValueError: naming an option whose value is out of range, and the values that it can have.
    """
    trainer = options.get("trainer") or {}
    for name, check in TRAINER.items():
        _check(f"trainer.{name}", trainer.get(name), check)
    _check("trainer.max_time", trainer.get("max_time"), DURATION)
    _check_together(trainer)
    limit = EVALUATED.get(str(subcommand))
    if limit is not None and trainer.get(limit) == 0:
        raise ValueError(f"trainer.{limit} must be greater than 0 in {subcommand}, which has nothing else to do, got 0")
    if "spawn" in str(trainer.get("strategy")):  # its processes cannot share the store that listens on localhost
        raise ValueError(f"trainer.strategy must not spawn processes, got {trainer['strategy']!r}: use ddp or ddp_fork")
    loggers = trainer.get("logger")
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        arguments = logger.get("init_args") if isinstance(logger, Mapping) else None
        for name, check in LOGGER.items():
            _check(f"trainer.logger.{name}", (arguments or {}).get(name), check)
    for key in ("model", "data"):
        for name, value in _numbers(options.get(key), key):
            if name.rpartition(".")[2] in ARGUMENTS:
                _check(name, value, ARGUMENTS[name.rpartition(".")[2]])


def _check_together(trainer: Mapping[str, Any]) -> None:
    """Refuse options of the trainer that have no effect beside the others, without a word from Lightning."""
    for low, high in (("min_epochs", "max_epochs"), ("min_steps", "max_steps")):
        least, most = trainer.get(low), trainer.get(high)
        if least is not None and most is not None and -1 < most < least:
            raise ValueError(f"trainer.{low} must be at most trainer.{high}, which is {most}, got {least}")
    if trainer.get("gradient_clip_algorithm") is not None and trainer.get("gradient_clip_val") is None:
        raise ValueError("trainer.gradient_clip_algorithm has no effect without trainer.gradient_clip_val: give both")


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """Yield the numbers in nested dicts, with their names on the command line; none of classes that are not checked."""
    if isinstance(value, Mapping):
        if str(value.get("class_path", CHECKED[0])).partition(".")[0] not in CHECKED:
            return
        for key, entry in value.items():
            yield from _numbers(entry, name if key == "init_args" else f"{name}.{key}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value


def _check(name: str, value: Any, check: Check) -> None:
    allowed, description = check
    if value is None:
        return
    if (isinstance(value, float) and not math.isfinite(value)) or not allowed(value):
        raise ValueError(f"{name} must be {description}, got {value!r}")
