"""Tests that task and network get the number of classes of their data, given or counted, and refuse another."""

from pathlib import Path

import pytest
from jsonargparse import Namespace
from PIL import Image

from lightning_coordconv.runtime.classes import share_num_classes
from lightning_coordconv.runtime.cli import main

SEGMENTER = "lightning_coordconv.segmentation.SegmentationNetwork"
RESNET = "lightning_coordconv.classification.ResNetClassifier"


def part(class_path: str, **arguments) -> Namespace:
    return Namespace(class_path=class_path, init_args=Namespace(**arguments))


def masks(number: int, model: int | None = None, net: int = 21, kind: str = SEGMENTER) -> Namespace:
    """Return the options of a run on masks; by default the numbers of network and task are their defaults."""
    task = part("lightning_coordconv.segmentation.SemanticSegmentation", net=part(kind, num_classes=net))
    task.init_args["num_classes"] = model
    data = part("lightning_coordconv.segmentation.MaskFolderDataModule", root="x", num_classes=number)
    return Namespace(model=task, data=data, seed_everything=0)


def test_the_option_of_the_data_reaches_network_and_task():
    options = masks(3)
    share_num_classes(options)
    assert options.model.init_args.num_classes == 3
    assert options.model.init_args.net.init_args.num_classes == 3


@pytest.mark.parametrize("given", [{"model": 4}, {"net": 4}])
def test_another_number_for_network_or_task_is_refused(given):
    name = {"model": "model", "net": "model.net"}[next(iter(given))]
    with pytest.raises(ValueError, match=rf"--{name}.num_classes is 4, but --data.num_classes is 3: give only that"):
        share_num_classes(masks(3, **given))
    share_num_classes(masks(4, **given))


def test_a_network_of_another_library_is_left_as_it_is():
    options = masks(3)
    options.model.init_args.net = part("torch.nn.Conv2d", in_channels=3, out_channels=3, kernel_size=1)
    before = options.model.init_args.net.as_dict()
    share_num_classes(options)
    assert options.model.init_args.num_classes == 3
    assert options.model.init_args.net.as_dict() == before


def test_a_model_without_network_and_data_without_classes_are_left_as_they_are():
    options = Namespace(model=part("lightning_coordconv.rl.A2C", total_timesteps=3), data=part("x.Y", n_envs=2))
    before = options.as_dict()
    share_num_classes(options)
    assert options.as_dict() == before


def folders(root: Path) -> Path:
    for split in ("train", "val"):
        for name in ("a", "b", "c"):
            (root / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(root / split / name / "0.png")
    return root


@pytest.mark.parametrize(("given", "expected"), [(1000, 3), (7, 7)])
def test_data_that_count_their_classes_are_asked_unless_a_number_was_given(tmp_path, given, expected):
    task = part("lightning_coordconv.classification.ImageClassification", net=part(RESNET, num_classes=given))
    data = part("lightning_coordconv.classification.ImageFolderDataModule", root=str(folders(tmp_path)), seed=0)
    options = Namespace(model=task, data=data, seed_everything=0)
    share_num_classes(options)
    assert options.model.init_args.net.init_args.num_classes == expected


@pytest.mark.slow
def test_a_mismatch_ends_a_run_with_one_line(tmp_path, capsys, monkeypatch):
    options = [f"--data.root={tmp_path}", "--data.num_classes=3", "--model.num_classes=4"]
    monkeypatch.setattr("sys.argv", ["lightning-coordconv"])
    with pytest.raises(SystemExit):
        main(["fit", "-c", "segmentation/masks_coordconv", *options])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert line == "error: --model.num_classes is 4, but --data.num_classes is 3: give only that of the data"
