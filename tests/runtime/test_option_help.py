"""Tests of the help for one option, such as ``--model.net.help``: meaning, classes, arguments, and refused words."""

import pytest

from lightning_coordconv.runtime.option_help import explain
from lightning_coordconv.runtime.shipped_configs import with_paths

MASKS = with_paths(["fit", "-c", "segmentation/masks_coordconv"])
DATA = "lightning_coordconv.segmentation.MaskFolderDataModule"


@pytest.mark.parametrize("word", ["--model.net.help", "--model.init_args.net.help"])
def test_a_network_is_explained_with_its_classes_and_arguments(word):
    lines = explain([*MASKS, "--model.net.with_r=true", word]).splitlines()
    assert lines[0].startswith("--model.net: maps images (B, 3, H, W) to logits")
    assert "  Classes of the package: lightning_coordconv.segmentation.SegmentationNetwork" in lines
    assert "Arguments of lightning_coordconv.segmentation.SegmentationNetwork, which is chosen now:" in lines
    arguments = dict(line.strip().split(": ", 1) for line in lines if line.startswith("  --model.net."))
    assert arguments["--model.net.coordinates (now first)"].startswith("which convolution sees them")
    assert "--model.net.with_r (now true)" in arguments
    assert "--model.net.weights (now None)" in arguments


def test_another_class_is_explained_in_place_of_that_of_the_config():
    text = explain([*MASKS, "--model.net", "torch.nn.Conv2d", "--model.net.in_channels=3", "--model.net.help"])
    assert "Arguments of torch.nn.Conv2d, which is chosen now:" in text
    assert "--model.net.in_channels (now 3)" in text
    assert "--model.net.out_channels (required)" in text
    assert "lraspp" not in text


def test_transforms_are_explained_as_a_list_of_classes():
    text = explain([*MASKS, "--data.train_transforms.help"])
    assert text.startswith("--data.train_transforms: v2 transforms of training images and masks, before the crop")
    assert "train_transforms: [{class_path: PACKAGE.CLASS, init_args: {NAME: VALUE}}, ...]" in text


def test_a_plain_option_is_explained():
    assert explain(["fit", "--data", DATA, "--data.crop.help"]).startswith("--data.crop: height and width of random")


@pytest.mark.slow
def test_the_help_of_a_class_names_optimisers_but_not_all_modules_of_torch(cli, capsys):
    with pytest.raises(SystemExit):
        cli(*MASKS, "--model.help", "lightning_coordconv.segmentation.SemanticSegmentation")
    text = capsys.readouterr().out
    assert "torch.optim.AdamW" in text
    assert "torch.nn.GRU" not in text
    assert len(text.splitlines()) < 120


def test_other_words_are_left_to_the_parser():
    assert explain([*MASKS, "--help"]) is None
    assert explain([*MASKS, "--model.help", "--data.help=x"]) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["fit", "--model.net.help"],
            "--model.net.help needs the class of model: give a config, or --model CLASS",
        ),
        ([*MASKS, "--model.ned.help"], "SemanticSegmentation has no option ned: it has net, num_classes"),
        (["fit", "--data", "no.Such", "--data.root.help"], "there is no class no.Such"),
    ],
)
def test_what_cannot_be_explained_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        explain(words)
