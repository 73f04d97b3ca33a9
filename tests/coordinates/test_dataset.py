"""Tests of the Not-so-Clevr data set: images and partitions as in the paper, keys of a sample, and wrong arguments."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from lightning_coordconv.coordinates import NotSoClevr


def test_images_equal_those_of_the_papers_two_lines():
    made = NotSoClevr("all").__getitems__(list(range(0, 3136, 11)))
    # the paper lists positions row by row, the data set column by column
    order = made["xy"][:, 0] - 4 + 56 * (made["xy"][:, 1] - 4)
    onehots = F.pad(torch.eye(3136)[order].view(-1, 1, 56, 56), (4, 4, 4, 4))
    images = F.conv2d(onehots, torch.ones(1, 1, 9, 9), padding=4)
    assert torch.equal(made["onehot"], onehots)
    assert torch.equal(made["image"], images)


@pytest.mark.parametrize(
    ("partition", "train", "test"), [("uniform", 2509, 627), ("quadrant", 2407, 729), ("authors", 2368, 768)]
)
def test_partitions_have_the_papers_sizes_and_do_not_overlap(partition, train, test):
    parts = {split: NotSoClevr(split, partition) for split in ("train", "test", "all")}
    positions = {split: {tuple(p) for p in data.xy.tolist()} for split, data in parts.items()}
    assert (len(positions["train"]), len(positions["test"]), len(positions["all"])) == (train, test, 3136)
    assert positions["train"] | positions["test"] == positions["all"]
    assert not positions["train"] & positions["test"]
    assert not parts["train"].held_out.any()
    assert parts["test"].held_out.all()
    assert parts["all"].held_out.sum() == test


def test_quadrant_holds_out_what_lies_beyond_the_middle():
    assert {tuple(p) for p in NotSoClevr("test", "quadrant").xy.tolist()} == {
        (x, y) for x in range(33, 60) for y in range(33, 60)
    }


def test_authors_partition_is_drawn_as_their_generator_draws_it():
    np.random.seed(20202)
    held_out = {(x, y) for x in range(4, 60) for y in range(4, 60) if np.random.random() < 0.25}
    assert {tuple(p) for p in NotSoClevr("test", "authors").xy.tolist()} == held_out


def test_uniform_partition_depends_only_on_its_seed():
    first, again, other = (NotSoClevr("test", seed=seed).xy for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("coordinates", ["scaled", "pixels"])
def test_the_keys_of_a_sample_agree(coordinates):
    data = NotSoClevr("all", coordinates=coordinates)
    for index in (0, 55, 1234, 3135):
        sample = data[index]
        x, y = sample["xy"].tolist()
        assert sample["pixel_index"] == 64 * y + x == sample["onehot"].argmax()
        assert sample["onehot"].sum() == 1
        assert sample["image"].sum() == 81
        assert sample["image"][0, y - 4 : y + 5, x - 4 : x + 5].all()
        expected = [x, y] if coordinates == "pixels" else [x / 31.5 - 1, y / 31.5 - 1]
        torch.testing.assert_close(sample["xy_scaled"], torch.tensor(expected, dtype=torch.float32))


def test_other_canvases():
    data = NotSoClevr("all", canvas=20, size=5)
    assert len(data) == 16**2
    assert data[0]["image"].shape == (1, 20, 20)
    assert data[0]["image"].sum() == 25


def test_plot():
    data = NotSoClevr("train")
    figure = data.plot(data[7])
    assert isinstance(figure, Figure)
    assert figure.axes[0].get_title() == str(tuple(data[7]["xy"].tolist()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, "split must be one of 'train', 'test', 'all', got 'val'"),
        ({"partition": "half"}, "partition must be one of 'uniform', 'quadrant', 'authors', got 'half'"),
        ({"coordinates": "metres"}, "coordinates must be one of 'scaled', 'pixels', got 'metres'"),
        ({"canvas": 8}, "a canvas of 8 pixels is smaller than the square of 9 pixels"),
        ({"size": 4}, "size must be an odd number of pixels, got 4"),
        ({"size": -3}, "size must be at least 1, got -3"),
        ({"canvas": 9, "split": "test", "partition": "quadrant"}, "leaves none for the test split"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        NotSoClevr(**{"split": "train"} | arguments)
