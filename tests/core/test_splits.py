"""Tests of random splits: they depend on names and seed only, and their states are kept, reported or refused."""

import logging
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_coordconv.classification import PlacedDigitsDataModule
from lightning_coordconv.coordinates import NotSoClevrDataModule
from lightning_coordconv.core.checkpoints import CheckpointError
from lightning_coordconv.core.splits import RandomSplit
from lightning_coordconv.detection import FieldOfMnistDataModule

NAMES = [f"{number:02d}" for number in range(20)]
FOLDER = Path("somewhere")


@pytest.mark.slow
@given(st.integers(3, 60), st.integers(0, 5), st.none() | st.integers(1, 9))
def test_parts_are_disjoint_and_complete_and_depend_on_names_and_seed_only(count, seed, held_out):
    names = [str(number) for number in range(count)]
    size = max(1, count // 10) if held_out is None else held_out
    if count <= 2 * size:
        with pytest.raises(ValueError, match=f"somewhere has too few images, {count}, to hold out {size}"):
            RandomSplit(seed).divide(names, FOLDER, "images", held_out)
        return
    parts = RandomSplit(seed).divide(names, FOLDER, "images", held_out)
    assert sorted(name for part in parts.values() for name in part) == sorted(names)
    assert len(parts["val"]) == len(parts["test"]) == size
    assert parts == RandomSplit(seed).divide(names, FOLDER, "images", held_out)


def restored(seed=1):
    """Return a split that has the state of one of NAMES, and the parts of that one."""
    first, second = RandomSplit(0), RandomSplit(seed)
    parts = first.divide(NAMES, FOLDER, "images")
    assert second.load_state_dict(first.state_dict())
    return second, parts


def test_another_seed_does_not_change_the_split_of_a_checkpoint():
    split, parts = restored()
    assert split.divide(NAMES, FOLDER, "images") == parts != RandomSplit(1).divide(NAMES, FOLDER, "images")


def test_the_same_split_is_not_divided_again():
    split = RandomSplit(0)
    split.divide(NAMES, FOLDER, "images")
    assert not split.load_state_dict(split.state_dict())


def test_files_that_were_added_are_left_out_and_named(caplog):
    split, parts = restored()
    with caplog.at_level(logging.INFO):
        assert split.divide(["new", *NAMES], FOLDER, "images") == parts
    assert "Left out images of somewhere that the split of the checkpoint does not have (1): new." in caplog.text


def test_files_that_are_missing_are_named():
    split, _ = restored()
    with pytest.raises(ValueError, match=r"somewhere lacks 2 of the 20 images .*: 03, 07; give a folder"):
        split.divide([name for name in NAMES if name not in ("03", "07")], FOLDER, "images")


def test_a_folder_of_other_files_is_divided_anew_with_a_message(caplog):
    split, _ = restored()
    others = [f"other{name}" for name in NAMES]
    with caplog.at_level(logging.INFO):
        assert split.divide(others, FOLDER, "images") == RandomSplit(1).divide(others, FOLDER, "images")
    assert "trained on other images than those in somewhere" in caplog.text


@pytest.mark.parametrize("state", [None, [], {}, {"train": []}, {"train": [1], "val": [], "test": []}, {"train": "a"}])
def test_a_state_that_is_no_split_is_refused(state):
    with pytest.raises(CheckpointError, match="must have lists of names for train, val, test"):
        RandomSplit().load_state_dict(state)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((["a", "b"], ["a"], ["c"]), "has names more than once: a"),
        ((["a", "a"], ["b"], ["c"]), "has names more than once: a"),
        ((["a", "b"], [], ["c"]), "has a part without a name"),
        (([], ["b"], ["c"]), "has a part without a name"),
    ],
)
def test_parts_that_are_no_split_are_refused(parts, message):
    """Images of training would be tested, or images count twice, or there would be none to train on."""
    with pytest.raises(CheckpointError, match=f"the split of the checkpoint {message}"):
        RandomSplit().load_state_dict(dict(zip(("train", "val", "test"), parts, strict=True)))


def test_a_split_that_is_kept_against_the_arguments_is_reported(caplog):
    split, parts = restored()
    with caplog.at_level(logging.INFO):
        assert split.divide(NAMES, FOLDER, "images", held_out=5) == parts
    assert "The checkpoint holds out 2 images for validation, and not 5: its split is kept." in caplog.text


SEEDED = {
    "uniform positions": (
        lambda seed: NotSoClevrDataModule("uniform", 16, 3, seed=seed),
        lambda data: {tuple(xy) for xy in data.xy.tolist()},
    ),
    "placed digits": (lambda seed: PlacedDigitsDataModule(copies=1, seed=seed), lambda data: set(data.source.tolist())),
}
"""Data modules whose seed decides what is held out, and what a data set of theirs holds."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDED)
def test_a_checkpoint_keeps_what_its_seed_held_out(name, caplog):
    """With the seed of another run a test would be of samples that the network was trained on."""
    make, content = SEEDED[name]
    trained, tested = make(0), make(3)
    learned, drawn = content(trained.dataset("train")), content(tested.dataset("test"))
    assert learned & drawn
    with caplog.at_level(logging.INFO):
        tested.load_state_dict(trained.state_dict())
    assert content(tested.dataset("test")) == content(trained.dataset("test"))
    assert not learned & content(tested.dataset("test"))
    assert "The checkpoint holds out the samples of seed 0, not 3: they are kept." in caplog.text
    assert tested.seed == 3  # of the order of the training samples


@pytest.mark.slow
def test_the_digits_of_a_field_stay_those_of_the_checkpoint():
    trained, tested = (FieldOfMnistDataModule(40, 40, seed=seed) for seed in (0, 3))
    tested.load_state_dict(trained.state_dict())
    assert torch.equal(tested.dataset("test").images, trained.dataset("test").images)


@pytest.mark.parametrize("partition", ["quadrant", "authors"])
def test_a_split_without_chance_has_no_state(partition):
    assert NotSoClevrDataModule(partition, 16, 3).state_dict() == {}


@pytest.mark.parametrize("seed", ["0", -1, 1.0, True, None])
def test_a_seed_that_is_no_seed_is_refused(seed):
    data = NotSoClevrDataModule("uniform", 16, 3, seed=2)
    with pytest.raises(CheckpointError, match="the seed of the checkpoint's split must be an integer from 0, got"):
        data.load_state_dict({"split_seed": seed})
