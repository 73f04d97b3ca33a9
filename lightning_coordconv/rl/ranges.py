"""Class of a range of numbers, the ranges of agents' and environments' options, and a function that checks values."""

import math
from typing import NamedTuple

MAX_SEED = 2**32 - 10_000_000
"""Largest seed: NumPy's limit, less what evaluation and the ranks of a distributed run add."""


class Range(NamedTuple):
    """The allowed values of a number: from ``least``, or ``above`` it, to ``most``; only integers if ``whole``."""

    least: float
    most: float = math.inf
    above: bool = False
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        """Whether a value is a number that is allowed; NaN and infinity never are."""
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        allowed = math.isfinite(value) and self.least <= value <= self.most
        return allowed and not (self.above and value == self.least)

    def __str__(self) -> str:
        """Describe the range for an error message."""
        if self.above:
            return f"greater than {self.least}"
        return f"at least {self.least}" if self.most == math.inf else f"from {self.least} to {self.most}"


ENVIRONMENTS = Range(1, 4096, whole=True)  # each is built: a larger number would exhaust the memory first
COUNT, SHARE, COEFFICIENT, POSITIVE = Range(1, whole=True), Range(0, 1), Range(0), Range(0, above=True)
RANGES = {
    "total_timesteps": Range(1),  # 1e6 is usual
    "n_steps": COUNT,
    "n_epochs": COUNT,
    "batch_size": COUNT,
    "learning_rate": COEFFICIENT,
    "gamma": SHARE,
    "gae_lambda": SHARE,
    "ent_coef": COEFFICIENT,
    "vf_coef": COEFFICIENT,
    "max_grad_norm": POSITIVE,
    "rms_prop_eps": POSITIVE,
    "clip_range": COEFFICIENT,
    "clip_range_vf": COEFFICIENT,
    "target_kl": POSITIVE,
    "n_envs": ENVIRONMENTS,
    "frame_stack": Range(1, 256, whole=True),
    "rollouts_per_epoch": COUNT,
    "eval_episodes": COUNT,
    "n_eval_envs": Range(1, 256, whole=True),
    "max_eval_steps": COUNT,
    "seed": Range(0, MAX_SEED, whole=True),
    "max_steps": COUNT,
    "fps": COUNT,
    "every_n_validations": Range(0, whole=True),
    "repeat_action_probability": SHARE,
    "action_repeat_probability": SHARE,
    "max_num_frames_per_episode": COUNT,
    "noop_max": Range(0, whole=True),
    "frame_skip": COUNT,
    "screen_size": COUNT,
}


SCHEDULES = {"learning_rate", "clip_range", "clip_range_vf"}
"""Options that may be two numbers, the first and the last of a linear schedule."""


def check_ranges(**values: float | tuple[float, float] | None) -> None:
    """Check numbers by the names under which the user gave them.

    Args:
        **values: a number, the first and the last of a linear schedule where one is allowed, or ``None``, which always
            is.

    Raises:
        ValueError: naming the argument, its allowed range and the value.
    """
    for name, value in values.items():
        if value is None:
            continue
        numbers = value if isinstance(value, tuple | list) else (value,)
        if numbers is value and not (name in SCHEDULES and len(numbers) == 2):
            pair = ", or the first and the last of a linear schedule" if name in SCHEDULES else ""
            raise ValueError(f"{name} must be a number{pair}, got {value!r:.100}")
        for number in numbers:
            if number not in RANGES[name]:
                integer = "an integer, " if RANGES[name].whole and isinstance(number, float) else ""
                raise ValueError(f"{name} must be {integer}{RANGES[name]}, got {number!r}")
