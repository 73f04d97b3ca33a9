"""Tests of refused runs: no batch to evaluate, no step, half precision, predictions that exist or go unwritten."""

import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter
from torch import nn
from torch.utils.data import DataLoader

from lightning_coordconv.coordinates import (
    NotSoClevrDataModule,
)
from lightning_coordconv.core import BaseTask
from lightning_coordconv.core.predictions import WritesPredictions, writes_predictions
from lightning_coordconv.rl import AgentVideo
from lightning_coordconv.runtime.ranges import EVALUATED, check_ranges
from tests.runtime.runs import RUN, SMALL, TWO
from tests.slow import slow_except

UNTRAINED = (*SMALL, "--ckpt_path=none", "--figures=true")
DOMAINS = ("classification", "coordinates", "detection", "generative", "rl", "segmentation")


def tasks(domain: str) -> list[type[BaseTask]]:
    room = importlib.import_module(f"lightning_coordconv.{domain}")
    found = [getattr(room, name) for name in room.__all__]
    return [kind for kind in found if isinstance(kind, type) and issubclass(kind, BaseTask)]


class EmptyLoaders(NotSoClevrDataModule):
    """Loaders of the user's that have no batch."""

    def val_dataloader(self):
        return DataLoader([])

    def test_dataloader(self):
        return [DataLoader([]), DataLoader([])]

    predict_dataloader = val_dataloader


@pytest.mark.parametrize(("command", "option"), EVALUATED.items())
@pytest.mark.parametrize("limit", [0, 0.0])
def test_a_limit_of_no_batch_is_refused_in_a_command_that_evaluates(command, option, limit):
    with pytest.raises(ValueError, match=rf"trainer\.{option} must be greater than 0 in {command}, .* got 0"):
        check_ranges({"trainer": {option: limit}}, command)
    check_ranges({"trainer": {option: limit}}, "fit")


@pytest.mark.slow
@pytest.mark.parametrize("command", slow_except(["test"], EVALUATED))
def test_nothing_is_written_before_the_refusal(cli, capsys, tmp_path, command):
    option = EVALUATED[command]
    with pytest.raises(SystemExit) as exit_info:
        cli(command, *UNTRAINED, f"--trainer.{option}=0")
    assert exit_info.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: trainer.{option} must be greater than 0 in {command}")


def test_tasks_whose_weights_cannot_be_in_half_precision():
    half = {kind.__name__ for domain in DOMAINS for kind in tasks(domain) if not kind.half_weights}
    names = {"A2C", "PPO", "GAN", "VAE", "GenerativeTask", "RegionProposal", "ObjectDetection", "PointRegression"}
    assert half == {*names, "CoordinateRegression"}


def test_tasks_that_predict_positions_refuse_mixed_precision():
    found = {kind for domain in DOMAINS for kind in tasks(domain) if not kind.half_outputs}
    assert {kind.__name__ for kind in found} == {"PointRegression", "CoordinateRegression"}
    for kind in found:
        with pytest.raises(ValueError, match=r"must be 32-true or 64-true for \w+, .* got 'bf16-mixed'"):
            kind(nn.Linear(1, 1)).check_precision("bf16-mixed")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_half_precision_is_refused_before_anything_is_written(cli, capsys, tmp_path, precision):
    config = Path(__file__).parents[2] / "configs" / "rl" / "find_and_touch_coordconv.yaml"
    with pytest.raises(SystemExit) as exit_info:
        cli("fit", "-c", config, f"--trainer.precision={precision}")
    assert exit_info.value.code == 2
    message = f"error: trainer.precision must keep the weights of A2C in full precision, .* got '{precision}'"
    assert re.match(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Total length of")
@pytest.mark.parametrize("command", slow_except(["test"], EVALUATED))
def test_loaders_without_a_batch_are_refused(cli, command, tmp_path):
    with pytest.raises(SystemExit, match=rf"^error: EmptyLoaders has no batch to {command}, so there is no result"):
        cli(command, *UNTRAINED, "--data", f"{__name__}.EmptyLoaders")
    assert not list(tmp_path.iterdir())


class Missing(NotSoClevrDataModule):
    """Data that cannot be read."""

    def setup(self, stage):
        raise FileNotFoundError("no such data")


@pytest.mark.slow
@pytest.mark.parametrize("command", slow_except(["test"], ["fit", *EVALUATED]))
def test_a_command_whose_data_are_refused_leaves_no_folder(cli, command, tmp_path):
    """The loggers make one before the data are read. What other runs wrote stays."""
    weights = () if command == "fit" else ("--ckpt_path=none",)
    for earlier in (False, True):
        if earlier:
            (tmp_path / RUN / "version_0").mkdir(parents=True)
        with pytest.raises(FileNotFoundError, match="no such data"):
            cli(command, *SMALL, *weights, "--data", f"{__name__}.Missing")
        assert sorted(tmp_path.rglob("version_*")) == ([tmp_path / RUN / "version_0"] if earlier else [])
        assert earlier or not list(tmp_path.iterdir())


@pytest.mark.slow
def test_predictions_replace_none(cli, tmp_path):
    version = "--trainer.logger.init_args.version=mine"
    path = cli("predict", *UNTRAINED, version) / RUN / "mine" / "predictions.csv"
    first = path.read_bytes()
    with pytest.raises(SystemExit, match=r"^error: .*mine/predictions.csv is there from an earlier prediction"):
        cli("predict", *UNTRAINED, version)
    assert path.read_bytes() == first
    cli("predict", *UNTRAINED)
    cli("predict", *UNTRAINED)
    assert len(list(path.parents[1].rglob("predictions.csv"))) == 3


@pytest.mark.slow
def test_a_prediction_that_nothing_would_write_is_refused(cli, capsys, tmp_path):
    quiet = ("--figures=false", "--trainer.callbacks=LearningRateMonitor", "--trainer.callbacks+=RichProgressBar")
    with pytest.raises(SystemExit) as exit_info:
        cli("predict", *SMALL, "--ckpt_path=none", *quiet)
    assert exit_info.value.code == 2
    message = "error: nothing would write the predictions of CoordinateClassification: leave out --figures false"
    assert capsys.readouterr().err.startswith(message)
    assert not list(tmp_path.iterdir())


def writers():
    for domain in DOMAINS:
        module = importlib.import_module(f"lightning_coordconv.{domain}")
        for name in module.__all__:
            kind = getattr(module, name)
            if isinstance(kind, type) and issubclass(kind, BasePredictionWriter):
                yield kind
    yield AgentVideo


@pytest.mark.parametrize("kind", sorted(set(writers()), key=lambda kind: kind.__name__))
def test_every_writer_refuses_each_of_its_outputs(kind, tmp_path):
    assert issubclass(kind, WritesPredictions)
    assert writes_predictions(kind())
    assert kind.outputs
    strategy = SimpleNamespace(broadcast=lambda value: value)
    trainer = SimpleNamespace(log_dir=None, default_root_dir=str(tmp_path), strategy=strategy)
    for name in kind.outputs:
        Path(tmp_path, name).touch()
        with pytest.raises(FileExistsError, match=f"{name} is there from an earlier prediction"):
            kind().on_predict_start(trainer, None)
        Path(tmp_path, name).unlink()
    kind().on_predict_start(trainer, None)


@pytest.mark.parametrize("kind", sorted(set(writers()), key=lambda kind: kind.__name__))
def test_two_writers_of_the_same_output_are_refused(kind):
    class Derived(kind):
        pass

    first, second = kind(), Derived()
    message = f"{kind.__name__} and Derived would write the same {kind.outputs[0]}: leave one of them out"
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[first, second])
    with pytest.raises(ValueError, match=message):
        second.setup(trainer, LightningModule(), "predict")
    first.setup(Trainer(accelerator="cpu", logger=False, callbacks=[first]), LightningModule(), "predict")


@pytest.mark.slow
def test_a_fit_can_leave_out_its_test(cli, capsys):
    cli("fit", *SMALL, "--trainer.max_steps=1", "--trainer.limit_test_batches=0")
    assert "limit_test_batches is 0: the run ends without a test" in capsys.readouterr().out


class WholeBatches(NotSoClevrDataModule):
    """Leaves out training samples that do not fill a batch."""

    drop_last = True


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Total length of .* across ranks is zero")
def test_a_fit_without_an_optimiser_step_is_refused(cli):
    """Fewer samples than a batch has."""
    with pytest.raises(
        SystemExit, match=r"error: the train split of WholeBatches has \d+ samples, too few for a batch of \d+"
    ):
        cli("fit", *SMALL, *TWO, f"--data={__name__}.WholeBatches", "--data.batch_size=1000")


@pytest.mark.slow
def test_a_root_folder_beside_a_logger_is_refused(cli, capsys, tmp_path):
    """Lightning uses it only where there is no logger, and there is one by default."""
    with pytest.raises(SystemExit):
        cli("fit", *SMALL, f"--trainer.default_root_dir={tmp_path / 'there'}")
    assert "error: trainer.default_root_dir has no effect beside a logger" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_loggers_that_write_the_same_files_are_refused(cli, capsys, tmp_path):
    logger = "{class_path: CSVLogger, init_args: {save_dir: logs, name: a, version: b}}"
    with pytest.raises(SystemExit) as ended:
        cli("fit", *SMALL, f"--trainer.logger=[{logger}, {logger}]")
    assert ended.value.code == 2
    assert "loggers of one class must have different folders" in capsys.readouterr().err
