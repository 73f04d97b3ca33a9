"""Tests that options are compared with those of a checkpoint, also those that only one of the two spells out."""

import logging

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from lightning_coordconv.classification import ImageClassification, PooledClassifier
from lightning_coordconv.core import remember_arguments
from lightning_coordconv.core.option_changes import find_changes

SAMPLES = DataLoader([{"image": torch.rand(1, 8, 8), "label": torch.tensor(number)} for number in range(2)], 2)


class Scaled(nn.Module):
    """Hands on options to its base by any name."""

    def __init__(self, scale: float = 1.0, activation: type[nn.Module] = nn.ReLU, sizes: tuple[int, ...] = (1, 2)):
        super().__init__()
        self.scale = scale


@remember_arguments
class Shifted(Scaled):
    """Adds an option."""

    def __init__(self, count: int, shift: float = 0.0, **others):
        super().__init__(**others)


def specification(**arguments):
    return {"class_path": f"{__name__}.Shifted", "init_args": {"count": 1, **arguments}}


def changed(saved, given):
    return [(change.name, change.saved, change.given) for change in find_changes({"net": saved}, {"net": given})]


@pytest.mark.parametrize(
    ("name", "value", "default"), [("shift", 2.0, 0.0), ("scale", 3.0, 1.0), ("activation", "torch.nn.GELU", nn.ReLU)]
)
def test_an_option_that_is_left_out_has_its_default(name, value, default):
    plain, other = specification(), specification(**{name: value})
    full = f"model.net.init_args.{name}"
    assert changed(other, plain) == [(full, value, default)]
    assert changed(plain, other) == [(full, default, value)]
    assert changed({"class_path": plain["class_path"]}, other)[-1] == (full, default, value)


@pytest.mark.parametrize(
    "option", [{"shift": 0.0}, {"scale": 1.0}, {"activation": "torch.nn.ReLU"}, {"sizes": [1, 2]}, {"sizes": (1, 2)}]
)
def test_a_default_that_is_spelled_out_is_no_change(option):
    """As of an option that is new in the class, which an older checkpoint lacks, and the command line spells out."""
    plain, spelled = specification(), specification(**option)
    assert changed(plain, spelled) == changed(spelled, plain) == []


def test_an_option_that_the_class_no_longer_has_is_not_compared():
    assert changed(specification(gone=1), specification()) == []


def test_a_class_by_default_is_shown_by_its_name():
    (change,) = find_changes(specification(activation="torch.nn.GELU"), specification())
    assert str(change) == "model.init_args.activation is torch.nn.modules.activation.ReLU, and was torch.nn.GELU"


@pytest.mark.parametrize(
    ("trained", "tested"),
    [({"padding_mode": "circular"}, {}), ({}, {"padding_mode": "circular"}), ({}, {}), ({"padding_mode": "zeros"}, {})],
)
@pytest.mark.parametrize("run", ["fit", "test"])
def test_a_run_names_options_that_only_one_of_checkpoint_and_program_spells_out(trained, tested, run, tmp_path, caplog):
    caplog.set_level(logging.INFO)

    def call(options, run, **others):
        trainer = Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        task = ImageClassification(PooledClassifier(2, **options))
        getattr(trainer, run)(task, *([SAMPLES] * (2 if run == "fit" else 1)), **others)
        return trainer

    call(trained, "fit").save_checkpoint(tmp_path / "a.ckpt")
    old = torch.load(tmp_path / "a.ckpt", weights_only=True)["hyper_parameters"]["net"]["init_args"]
    assert old == {"num_classes": 2, **trained}
    caplog.clear()
    call(tested, run, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    values = [{"padding_mode": "zeros", **options}["padding_mode"] for options in (tested, trained)]
    lines = [line for line in caplog.messages if line.startswith("options that differ")]
    expected = "options that differ from those of the checkpoint: model.net.init_args.padding_mode is {}, and was {}"
    assert lines == ([expected.format(*values)] if values[0] != values[1] else [])
