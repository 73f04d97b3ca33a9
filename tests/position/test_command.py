"""Tests of ``advise``: models by name, weights, options unlike the checkpoint's, configs, written files, bad input."""

import json

import pytest
import torch
from torch import nn

from lightning_coordconv.classification import ImageClassification, PlacedDigitsDataModule, PooledClassifier
from lightning_coordconv.position import advise, command
from lightning_coordconv.position.command import load_model
from lightning_coordconv.runtime.cli import main


@pytest.mark.slow
def test_models_by_name_are_built_without_a_download(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a download")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    for name in ("fasterrcnn_mobilenet_v3_large_320_fpn", "lraspp_mobilenet_v3_large", "resnet18"):
        assert isinstance(load_model(name), nn.Module)


class Answering(nn.Module):
    """Returns what it is given."""

    def __init__(self, answer):
        super().__init__()
        self.layer, self.answer = nn.Conv2d(3, 2, 3), answer

    def forward(self, images):
        self.layer(images)
        return self.answer


@pytest.mark.parametrize("answer", [None, 3, "cat", [], {"label": torch.zeros(1, dtype=torch.int64)}])
def test_a_model_that_returns_no_numbers_is_named(answer):
    message = f"^Answering must return a tensor of floating-point numbers, .*, got {type(answer).__name__}$"
    with pytest.raises(ValueError, match=message):
        advise(Answering(answer), PlacedDigitsDataModule(), 4, 4)


def test_weights_of_a_task_are_those_of_its_network(tmp_path):
    network = PooledClassifier(3)
    state = {f"net.{name}": value for name, value in network.state_dict().items()} | {"metric": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "task.ckpt")
    loaded = load_model(PooledClassifier(3), tmp_path / "task.ckpt")
    assert all(map(torch.equal, loaded.state_dict().values(), network.state_dict().values()))


def test_null_of_a_network_is_no_word(tmp_path, capsys, cli):
    null = "--model.net.init_args.weights_backbone=null"
    with pytest.raises(SystemExit):
        cli("advise", "-c", "segmentation/masks_conv", "--data.root", str(tmp_path), "--data.num_classes", "2", null)
    assert str(tmp_path) in capsys.readouterr().err  # the empty folder, after the network was built


@pytest.mark.slow
def test_a_config_is_given_by_its_name(tmp_path, capsys, cli):
    cli("advise", "-c", "classification/digits_conv", "--images", "40", "--readout_images", "4")
    assert "Class given the place of the object" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli("advise", "-c", "classification/nothing")
    assert "error: there is no config 'classification/nothing'" in capsys.readouterr().err


@pytest.mark.slow
def test_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = "lightning_coordconv.classification.PooledClassifier"
    data = "lightning_coordconv.classification.PlacedDigitsDataModule"
    main(
        [
            "advise",
            "--model",
            network,
            "--model.num_classes",
            "4",
            "--data",
            data,
            "--data.labels",
            "position",
            "--images",
            "60",
        ]
    )
    out = capsys.readouterr().out
    assert "position removes" in out
    assert "Therefore:" in out
    written = json.loads((tmp_path / "advice" / "advice.json").read_text())
    assert written["sentences"] == out.splitlines()[:-1]
    assert (tmp_path / "advice" / "advice.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_config_of_fit_is_accepted_with_all_its_keys(tmp_path, monkeypatch):
    """Its seed is that of the data, as in fit."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "seed_everything: 3\nfigures: true\nckpt_path: null\nweights_only: null\ntrainer: {max_epochs: 1}\n"
        "model: {class_path: lightning_coordconv.classification.PooledClassifier, init_args: {num_classes: 4}}\n"
        "data: {class_path: lightning_coordconv.classification.PlacedDigitsDataModule, init_args: {labels: position}}\n"
    )
    given = []
    monkeypatch.setattr(command, "advise", lambda model, data, *_: given.append(data) or 1 / 0)
    for seed in ([], ["--seed_everything=5"]):
        with pytest.raises(ZeroDivisionError):
            main(["advise", "-c", str(config), *seed])
    assert [data.seed for data in given] == [3, 5]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["task", "network"])
@pytest.mark.parametrize("padding", [{"padding_mode": "zeros"}, {"padding_mode": "circular"}, {}], ids=str)
def test_options_that_are_not_those_of_the_checkpoint_are_named(model, padding, tmp_path, monkeypatch, capsys):
    """The weights fit, and the network computes something else with them."""
    network = {
        "class_path": "lightning_coordconv.classification.PooledClassifier",
        "init_args": {"num_classes": 4, "padding_mode": "circular"},
    }
    weights = ImageClassification(PooledClassifier(4)).state_dict()
    kind = "lightning_coordconv.classification.ImageClassification"
    checkpoint = {"state_dict": weights, "hyper_parameters": {"_class_path": kind, "net": network}}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    network["init_args"] = {"num_classes": 4, **padding}
    given = {"class_path": kind, "init_args": {"net": network}}
    data = {"class_path": "lightning_coordconv.classification.PlacedDigitsDataModule"}
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"model": given if model == "task" else network, "data": data}))
    monkeypatch.setattr(command, "advise", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["advise", "-c", str(config), "--checkpoint", str(tmp_path / "last.ckpt")])
    name = f"model.{'net.init_args.' if model == 'task' else ''}padding_mode"
    line = f"options that differ from those of the checkpoint: {name} is zeros, and was circular\n"
    assert capsys.readouterr().err == ("" if padding == {"padding_mode": "circular"} else line)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "resnet18", "--ckpt_path", "x.ckpt"],
            "advise reads weights from --checkpoint, not",
        ),
        (["--model", "resnet18", "--bogus", "1"], "--bogus"),
        (["--model", "resnet1"], "torchvision has no model 'resnet1'"),
        pytest.param(["--model", "timm/resnet1"], "timm has no model 'resnet1'", marks=pytest.mark.slow),
        pytest.param(
            ["--model", "resnet18", "--checkpoint", "nowhere.pt"], "no checkpoint at nowhere.pt", marks=pytest.mark.slow
        ),
        pytest.param(
            ["--model", "resnet18", "--checkpoint", "other.pt"],
            "other.pt holds weights of another architecture",
            marks=pytest.mark.slow,
        ),
        (["--model", "resnet18", "--images", "2"], "num_images must be at least 4, got 2"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    data = ["--data", "lightning_coordconv.classification.PlacedDigitsDataModule"]
    with pytest.raises(SystemExit) as info:
        main(["advise", *arguments, *data])
    assert info.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "advice").exists()


@pytest.mark.slow
def test_weights_are_those_of_the_whole_model_and_not_of_a_part_with_a_layer_of_the_same_name(tmp_path):
    """The first layer of a ResNet is ``conv1``, and so is the first of its blocks."""
    expected = load_model("resnet18")
    torch.save(expected.state_dict(), tmp_path / "resnet18.pt")
    found = load_model("resnet18", tmp_path / "resnet18.pt")
    assert all(map(torch.equal, found.state_dict().values(), expected.state_dict().values()))


def test_weights_of_two_such_models_are_refused(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 1, 1))
    state = {f"{prefix}.{name}": value for prefix in ("teacher", "net") for name, value in model.state_dict().items()}
    torch.save(state, tmp_path / "both.pt")
    with pytest.raises(ValueError, match=r"weights of several such models, teacher\., net\.: save those of one"):
        load_model(model, tmp_path / "both.pt")
