"""Tests of the image classification task: loss, metrics, learning, confusion matrix, two ranks, command line."""

import csv
import math
import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader

from lightning_coordconv.classification import (
    ConfusionFigure,
    ImageClassification,
    ImageFolderDataModule,
    PlacedDigitsDataModule,
    PooledClassifier,
    figures,
)
from lightning_coordconv.core import PredictionTable
from lightning_coordconv.core.confusion import draw_confusion

CONFIGS = Path(__file__).parents[2] / "configs" / "classification"


class Oracle(nn.Module):
    """Answers with fixed logits."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        return self.answer


def quiet(folder, **arguments) -> Trainer:
    defaults = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    shown = {"enable_progress_bar": False, "enable_model_summary": False}
    return Trainer(default_root_dir=folder, **{**defaults, **shown, **arguments})


def test_by_hand():
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    batch = {"image": torch.zeros(2, 1, 4, 4), "label": torch.tensor([0, 1]), "path": ["a", "b"]}
    task = ImageClassification(Oracle(logits))
    outputs = task.evaluate(batch)
    assert outputs["loss"].item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    row = task.predict_step(batch, 0)
    assert list(row) == ["label", "path", "predicted", "probability", "correct"]
    assert row["path"] == ["a", "b"]
    assert row["predicted"][0] == 0
    assert row["probability"].tolist() == pytest.approx([0.75, 0.5])
    assert row["correct"][0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_any_integers_are_the_same_classes(dtype):
    task, batch = ImageClassification(PooledClassifier(3)), {"image": torch.rand(2, 1, 8, 8)}
    losses = [task.evaluate(batch | {"label": torch.tensor([0, 2], dtype=d)})["loss"] for d in (torch.long, dtype)]
    assert torch.equal(*losses)


def test_a_network_with_too_few_outputs_is_refused(tmp_path):
    task, data = ImageClassification(PooledClassifier(3)), PlacedDigitsDataModule("position", copies=1)
    with pytest.raises(
        ValueError, match="has 3 outputs, but the data have 4 classes: set the network's num_classes to 4"
    ):
        quiet(tmp_path, max_steps=1).fit(task, data)


@pytest.mark.slow
def test_a_network_with_more_outputs_than_classes_is_reported_once(tmp_path, caplog):
    task, data = ImageClassification(PooledClassifier(7)), PlacedDigitsDataModule("position", copies=1)
    with caplog.at_level("INFO"):
        quiet(tmp_path, max_steps=3, limit_val_batches=1).fit(task, data)
    assert caplog.text.count("The network has 7 outputs, but the data have 4 classes: set the network's num_class") == 1


def test_weight_decay_applies_to_everything():
    task = ImageClassification(
        PooledClassifier(4, coordinates=True), lambda groups: torch.optim.SGD(groups, lr=0.1, weight_decay=0.5)
    )
    (group,) = task.configure_optimizers().param_groups
    assert group["weight_decay"] == 0.5
    assert len(group["params"]) == 9


@pytest.mark.slow
@pytest.mark.parametrize(("coordinates", "low", "high"), [(False, 0.0, 0.33), (True, 0.97, 1.0)])
def test_position_is_learned_only_with_coordinates(tmp_path, coordinates, low, high):
    seed_everything(0)
    task = ImageClassification(PooledClassifier(4, coordinates), lambda groups: torch.optim.Adam(groups, lr=0.01))
    data = PlacedDigitsDataModule("position", copies=1, batch_size=64, eval_batch_size=500)
    trainer = quiet(tmp_path, max_epochs=1, limit_val_batches=0)
    trainer.fit(task, data)
    (result,) = trainer.test(task, data, verbose=False)
    assert low <= result["test/top1"] <= high
    assert result["test/top5"] == 1  # of four classes


@pytest.mark.slow
def test_folder_of_images_learns_and_predicts(tmp_path):
    colours = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
    for split in ("train", "val"):
        for name, colour in colours.items():
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (40, 40), colour).save(tmp_path / split / name / f"{i}.png")
    seed_everything(0)
    net = PooledClassifier(3, coordinates=True, channels=3)
    task = ImageClassification(net, lambda groups: torch.optim.Adam(groups, lr=0.01))
    data = ImageFolderDataModule(str(tmp_path), image_size=32, batch_size=12, num_workers=0)
    trainer = quiet(tmp_path, max_epochs=15, limit_val_batches=0, callbacks=[PredictionTable()])
    trainer.fit(task, data)
    (result,) = trainer.test(task, data, verbose=False)
    assert result["test/top1"] == 1
    trainer.predict(task, data, return_predictions=False)
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert len(rows) == 12
    for row in rows:
        assert row["path"].split("/")[-2] == sorted(colours)[int(row["predicted"])]
        assert row["correct"] == "True"


def test_names_that_are_not_utf_8_keep_their_bytes(tmp_path):
    task = ImageClassification(PooledClassifier(3, channels=3))
    name = os.fsdecode(b"caf\xe9.png")
    quiet(tmp_path, callbacks=[PredictionTable()]).predict(
        task, DataLoader([{"image": torch.rand(3, 16, 16), "path": name}]), return_predictions=False
    )
    assert b"caf\xe9.png" in (tmp_path / "predictions.csv").read_bytes()


def test_samples_without_a_label_are_predicted(tmp_path):
    task = ImageClassification(PooledClassifier(3, channels=3))
    images = torch.rand(4, 3, 16, 16)
    samples = [{"image": image, "path": str(number)} for number, image in enumerate(images)]
    (columns,) = quiet(tmp_path).predict(task, DataLoader(samples, batch_size=4))
    assert columns.keys() == {"path", "predicted", "probability"}
    assert torch.equal(columns["predicted"], task.net.eval()(images).argmax(1))


@pytest.mark.slow
def test_two_ranks_give_the_accuracy_of_one(tmp_path):
    results = []
    for ranks in ({"devices": 1}, {"devices": 2, "strategy": "ddp_fork"}):
        seed_everything(0)
        task = ImageClassification(PooledClassifier(10))
        data = PlacedDigitsDataModule("content", copies=1, eval_batch_size=300)
        logger = CSVLogger(tmp_path, "", str(ranks["devices"]))
        trainer = quiet(tmp_path, logger=logger, callbacks=[ConfusionFigure()], **ranks)
        results += trainer.test(task, data, verbose=False)
    alone, together = results
    assert together == pytest.approx(alone, abs=1e-6)
    drawn = [(tmp_path / devices / "figures" / "confusion_test.png").read_bytes() for devices in "12"]
    assert drawn[0] == drawn[1]


@pytest.mark.slow
def test_the_confusion_matrix_counts_true_classes_in_rows(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "draw_confusion", lambda *given: drawn.append(given) or draw_confusion(*given))
    logits = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 2, 0], [0, 0, 2]])
    batch = {"image": torch.zeros(4, 1, 4, 4), "label": torch.tensor([0, 0, 1, 2])}
    trainer = quiet(tmp_path, logger=CSVLogger(tmp_path), callbacks=[ConfusionFigure()])
    for _ in range(2):  # a second test starts from nothing
        trainer.test(ImageClassification(Oracle(logits)), DataLoader([batch], batch_size=None), verbose=False)
    for matrix, _ in drawn:
        assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert len(drawn) == 2
    assert ImageClassification(Oracle(logits)).figures()[1].metric is None


@pytest.mark.parametrize("logits", [torch.zeros(90, 10), 1e-9 * torch.arange(900.0).view(90, 10), None])
def test_metrics_tables_and_the_confusion_matrix_have_the_same_class_of_equal_logits(tmp_path, monkeypatch, logits):
    """Also of logits whose probabilities are equal, and of those in bfloat16, of which many are equal."""
    drawn = []
    monkeypatch.setattr(figures, "draw_confusion", lambda *given: drawn.append(given) or draw_confusion(*given))
    generator = torch.Generator().manual_seed(0)
    logits = torch.rand(90, 10, generator=generator).bfloat16() if logits is None else logits
    label = torch.randint(10, (90,), generator=generator)
    batch = {"image": torch.zeros(90, 1, 4, 4), "label": label}
    task = ImageClassification(Oracle(logits))
    trainer = quiet(tmp_path, logger=CSVLogger(tmp_path), callbacks=[ConfusionFigure()])
    (found,) = trainer.test(task, DataLoader([batch], batch_size=None), verbose=False)
    correct = task.predict_step(batch, 0)["correct"].float().mean().item()
    assert found["test/top1"] == pytest.approx(correct, abs=1e-6)
    assert drawn[0][0].diag().sum().item() / 90 == pytest.approx(correct, abs=1e-6)


def test_undefined_logits_are_of_no_class_of_the_confusion_matrix(tmp_path, caplog):
    logits = torch.tensor([[2.0, 0, 0], [torch.nan, 2, 0], [0, 0, torch.inf]])
    batch = {"image": torch.zeros(3, 1, 4, 4), "label": torch.tensor([0, 1, 2])}
    trainer = quiet(tmp_path, logger=CSVLogger(tmp_path), callbacks=[ConfusionFigure()])
    trainer.test(ImageClassification(Oracle(logits)), DataLoader([batch], batch_size=None), verbose=False)
    assert "No confusion matrix is drawn: 2 of 3 samples have NaN or infinite logits." in caplog.text
    assert not list(tmp_path.rglob("confusion_test.png"))


QUICK = ("--data.image_size=32", "--data.num_workers=0", "--trainer.enable_progress_bar=false")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning")  # a prediction logs to a new version
def test_imagenet_config_on_a_folder(cli, image_folder):
    config = CONFIGS / "imagenet_coordconv.yaml"
    arguments = ("-c", config, "--data.root", image_folder, *QUICK, "--model.net.init_args.num_classes=2",
                 "--model.net.init_args.name=resnet18")  # fmt: skip
    folder = cli("fit", *arguments, "--trainer.max_epochs=1")
    checkpoint = next(folder.rglob("last.ckpt"))
    task = ImageClassification.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    assert task.net.coordconv.with_r
    cli("predict", *arguments, "--ckpt_path", checkpoint)
    (table,) = folder.rglob("predictions.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert {row["path"] for row in rows} == {str(path) for path in (image_folder / "val").rglob("*.png")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.root", "nowhere"], "there is no folder nowhere/train: expected nowhere/train/<class>/<image>"),
        (["--model.net.init_args.name", "resnet9"], "got 'resnet9'"),
    ],
)
def test_bad_input_on_the_command_line(cli, image_folder, capsys, arguments, message):
    with pytest.raises(SystemExit):
        cli("fit", "-c", CONFIGS / "imagenet_conv.yaml", "--data.root", image_folder, *QUICK, *arguments)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
