"""Tests that numbers out of range, log names outside the folder, and strategies that spawn are refused in one line."""

import contextlib
import io
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_coordconv.rl.ranges import RANGES
from lightning_coordconv.runtime.cli import main
from lightning_coordconv.runtime.ranges import ARGUMENTS, TRAINER, check_ranges

CONFIGS = Path(__file__).parents[2] / "configs"
UNTYPED = {"env_kwargs", "policy_kwargs", "options"}
"""Arguments of other packages' classes, whose types nobody declares."""


def fields(config: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return the options of a configuration that hold numbers, by their names on the command line."""
    if isinstance(config, dict):
        found = []
        for key, value in config.items():
            found += fields(value, f"{path}.{key}" if path else key)
        return found
    return [(path, config)] if isinstance(config, bool | int | float) else []


def overrides(count: int) -> list[tuple[Path, str]]:
    """Return configurations, each with an option that cannot work: a negative number, or no number at all."""
    draw, found = random.Random(0), []
    # errors of classes that are not of the package, as those of the position benchmark, keep their traceback
    paths = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name not in ("presets", "position"))
    while len(found) < count:
        path = draw.choice(paths)
        options = [(option, value) for option, value in fields(yaml.safe_load(path.read_text())) if is_checked(option)]
        if not options:
            continue
        option, value = draw.choice(options)
        bad = "nonsense" if isinstance(value, bool) else draw.choice(["nonsense", -7])
        found.append((path, f"--{option}={bad}"))
    return found


def is_checked(option: str) -> bool:
    """Tell whether an option has a type and may not be negative."""
    parts = option.split(".")
    return not set(parts) & UNTYPED and parts[1:2] != ["callbacks"]


def refused(path: Path, override: str) -> str:
    """Run a fit, which must end in an error, and return what it printed to the error stream."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), pytest.raises(SystemExit) as exit_info:
        main(["fit", "-c", str(path), override])
    assert exit_info.value.code not in (0, None), override
    return printed.getvalue() if isinstance(exit_info.value.code, int) else str(exit_info.value.code)


@pytest.mark.slow
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
            check_ranges({"trainer": {name: value}})
    check_ranges({"trainer": {name: 1}})
    check_ranges({"trainer": {name: None}})


@pytest.mark.parametrize(
    ("name", "value"),
    [("gradient_clip_val", -1), ("accumulate_grad_batches", -2), ("check_val_every_n_epoch", 0), ("max_epochs", 0),
     ("limit_train_batches", 0), ("limit_val_batches", 1.5), ("val_check_interval", 0), ("max_steps", -2)],
)  # fmt: skip
def test_values_that_lightning_would_accept_or_refuse_late(name, value):
    with pytest.raises(ValueError, match=f"trainer.{name} must be"):
        check_ranges({"trainer": {name: value}})


@pytest.mark.parametrize(
    ("given", "message"),
    [({"min_steps": 5, "max_steps": 4}, r"trainer.min_steps must be at most trainer.max_steps, which is 4, got 5"),
     ({"min_epochs": 2, "max_epochs": 1}, r"trainer.min_epochs must be at most trainer.max_epochs, which is 1, got 2"),
     ({"gradient_clip_algorithm": "norm"}, r"gradient_clip_algorithm has no effect without trainer.gradient_clip_val")],
)  # fmt: skip
def test_options_without_effect_beside_the_others_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        check_ranges({"trainer": given})
    check_ranges({"trainer": given | {"max_steps": -1, "max_epochs": None, "gradient_clip_val": 1.0}})


@pytest.mark.parametrize("name", ["../../x", "/etc", "a/../../b"])
def test_a_run_stays_below_the_loggers_folder(name):
    with pytest.raises(ValueError, match=r"trainer\.logger\.name must be a relative path without"):
        check_ranges({"trainer": {"logger": {"class_path": "TensorBoardLogger", "init_args": {"name": name}}}})


def test_a_unit_of_time_that_does_not_exist_is_refused():
    check_ranges({"trainer": {"max_time": {"hours": 1, "minutes": 30}}})
    check_ranges({"trainer": {"max_time": "00:01:00:00"}})
    with pytest.raises(ValueError, match=r"trainer.max_time must be .* only the keys .*, got \{'minute': 1\}"):
        check_ranges({"trainer": {"max_time": {"minute": 1}}})


def test_intervals_of_time_are_left_to_lightning():
    check_ranges({"trainer": {"val_check_interval": "00:01:00:00"}})


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_are_found_wherever_they_are(name):
    nested = {"class_path": "torch.nn.Module", "init_args": {"optimizer": {"init_args": {name: -7}}}}
    with pytest.raises(ValueError, match=rf"^data\.optimizer\.{name} must be .*, got -7"):
        check_ranges({"data": nested})


@pytest.mark.parametrize(
    "strategy", ["ddp_spawn", {"class_path": "DDPStrategy", "init_args": {"start_method": "spawn"}}]
)
def test_strategies_that_spawn_processes_are_refused(strategy):
    with pytest.raises(ValueError, match=r"trainer\.strategy must not spawn processes, got .*: use ddp or ddp_fork"):
        check_ranges({"trainer": {"strategy": strategy}})


def test_arguments_of_a_users_class_have_the_ranges_that_it_says():
    own = {"class_path": "focal.FocalLoss", "init_args": {"gamma": 2.0, "momentum": -1.0}}
    check_ranges({"model": {"class_path": "focal.Task", "init_args": {"gamma": 2.0}}})
    check_ranges({"model": {"class_path": "lightning_coordconv.rl.A2C", "init_args": {"loss": own}}})
    with pytest.raises(ValueError, match=r"model.gamma must be from 0 to 1, got 2.0"):
        check_ranges({"model": {"class_path": "lightning_coordconv.rl.A2C", "init_args": {"gamma": 2.0}}})


@pytest.mark.parametrize("name", sorted(ARGUMENTS.keys() & RANGES.keys()))
def test_the_ranges_of_agents_are_those_of_the_command_line(name):
    """At least at the ends, so that no value is accepted by the one and refused by the other."""
    allowed, _ = ARGUMENTS[name]
    for value in (-1, 0, 1):
        assert allowed(value) == (value in RANGES[name]), value


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["-5", "true", "false", str(2**32)])
@pytest.mark.parametrize("command", ["fit", "advise"])
def test_a_seed_that_is_none_is_refused_by_the_name_of_its_option(cli, capsys, command, seed):
    config = CONFIGS / "coordinates" / "classification_quadrant_deconv.yaml"
    with pytest.raises(SystemExit) as caught:
        cli(command, "-c", config, f"--seed_everything={seed}")
    shown = capsys.readouterr().err + str(caught.value)
    assert f"error: seed_everything must be an integer from 0 to 4294967295, got {seed.title()}" in shown
