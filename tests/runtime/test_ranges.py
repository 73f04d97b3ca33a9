"""Options out of range are refused in one line, and nothing is written."""

import contextlib
import io
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_coordconv.runtime.cli import main
from lightning_coordconv.runtime.ranges import TRAINER, check_ranges

CONFIGS = Path(__file__).parents[2] / "configs"
BAD: dict[type, tuple[Any, ...]] = {int: (-7, "many", 1.5), float: (-3.5, "much"), bool: ("perhaps", 7)}
LIMITED = set(TRAINER)


def fields(config: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return the options of a configuration that hold numbers, by their names on the command line."""
    if isinstance(config, dict):
        found = []
        for key, value in config.items():
            found += fields(value, f"{path}.{key}" if path else key)
        return found
    return [(path, config)] if isinstance(config, bool | int | float) else []


def overrides(count: int) -> list[tuple[Path, str]]:
    """Return configurations, each with an option that cannot work: a number below its range, or another type.

    Negative numbers are drawn for options of the trainer; a class decides what it accepts, except for its types.
    """
    draw, found = random.Random(0), []
    paths = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "presets")
    while len(found) < count:
        path = draw.choice(paths)
        config = yaml.safe_load(path.read_text())
        option, value = draw.choice(fields(config) or [("trainer.max_epochs", 1)])
        bad = draw.choice(BAD[type(value)])
        number = isinstance(bad, int | float)
        if number and not (option.startswith("trainer.") and option.split(".")[1] in LIMITED and bad != 7):
            bad = "nonsense"
        found.append((path, f"--{option}={bad}"))
    return found


def refused(path: Path, override: str) -> str:
    """Run a fit, which must end in an error, and return what it printed to the error stream."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), pytest.raises(SystemExit) as exit_info:
        main(["fit", "-c", str(path), override])
    assert exit_info.value.code not in (0, None), override
    return printed.getvalue() if isinstance(exit_info.value.code, int) else str(exit_info.value.code)


def test_generated_overrides_are_refused_in_one_line_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["lightning-coordconv"])
    monkeypatch.chdir(tmp_path)
    for path, override in overrides(150):
        line = refused(path, override)
        assert line.startswith("error: "), (path, override, line)
        assert line.count("\n") <= 1, (path, override, line)
        assert not list(tmp_path.iterdir()), (path, override)


@pytest.mark.parametrize("name", TRAINER)
def test_each_option_of_the_trainer_has_a_range(name):
    for value in (-7, float("nan")):
        with pytest.raises(ValueError, match=f"trainer.{name} must be .*, got"):
            check_ranges({name: value})
    check_ranges({name: 1})
    check_ranges({name: None})


@pytest.mark.parametrize(
    ("name", "value"),
    [("gradient_clip_val", -1), ("accumulate_grad_batches", -2), ("check_val_every_n_epoch", 0), ("max_epochs", 0),
     ("limit_train_batches", 0), ("limit_val_batches", 1.5), ("val_check_interval", 0), ("max_steps", -2)],
)  # fmt: skip
def test_values_that_lightning_would_accept_or_refuse_late(name, value):
    with pytest.raises(ValueError, match=f"trainer.{name} must be"):
        check_ranges({name: value})


@pytest.mark.parametrize("name", ["../../x", "/etc", "a/../../b"])
def test_a_run_stays_below_the_loggers_folder(name):
    with pytest.raises(ValueError, match=r"trainer\.logger\.name must be a relative path without"):
        check_ranges({"logger": {"class_path": "TensorBoardLogger", "init_args": {"name": name}}})


def test_intervals_of_time_are_left_to_lightning():
    check_ranges({"val_check_interval": "00:01:00:00"})
