"""Tests of the weights that ship with the package: names, sizes, lookup, and files that are refused."""

from pathlib import Path

import pytest

from lightning_coordconv.coordinates import CoordinateClassification, load
from lightning_coordconv.core.checkpoints import CheckpointError, read_checkpoint
from lightning_coordconv.core.restore import restore
from lightning_coordconv.core.shipped import find_weights, shipped_weights
from lightning_coordconv.detection import load as load_detector

NAMES = ["find_and_touch", "painter", "regressor", "sort_of_clevr"]


def test_the_names():
    assert sorted(shipped_weights()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_small_and_has_nothing_that_only_resuming_needs(name):
    checkpoint = read_checkpoint(find_weights(name))
    assert not {"loops", "callbacks", "optimizer_states", "lr_schedulers", "random_state"} & set(checkpoint)
    assert checkpoint["inference"]["task"].startswith("lightning_coordconv.")


def test_the_files_have_less_than_400_kilobytes_together():
    assert sum(path.stat().st_size for path in shipped_weights().values()) < 400_000


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(FileNotFoundError, match=f"no checkpoint at pianter, .*{', '.join(shipped_weights())}"):
        load("pianter")


def test_weights_of_another_domain_say_where_to_load_them():
    with pytest.raises(CheckpointError, match=r"CoordinateClassification.*use lightning_coordconv\.coordinates"):
        load_detector("painter")


@pytest.mark.parametrize("source", ["painter.ckpt", "./painter", "logs/painter", Path("painter"), Path("a/b.ckpt")])
def test_paths_are_no_names(source):
    assert find_weights(source) is source


def test_a_file_in_the_folder_does_not_take_the_place_of_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("painter", "mine"):
        Path(name).write_bytes(b"")
    assert find_weights("painter") == shipped_weights()["painter"]
    assert find_weights("mine") == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weight: None, r"painter holds no coordinate weights net\S*coord_weight"),
        (lambda weight: weight.long(), r"painter holds net\S*coord_weight as torch.int64, but .* torch.float32"),
        (lambda weight: weight.bool(), r"painter holds net\S*coord_weight as torch.bool, but .* torch.float32"),
        (lambda weight: weight.cfloat(), r"painter holds net\S*coord_weight as torch.complex64, but .* torch.float32"),
        (lambda weight: weight.double(), None),
    ],
    ids=["missing", "integers", "booleans", "complex", "wider"],
)
def test_weights_that_loading_would_change_are_refused(change, message):
    """Coordinate weights that are missing would become zeros, and integers would be cut."""
    checkpoint = dict(read_checkpoint(find_weights("painter")))
    weights = dict(checkpoint["state_dict"])
    key = next(key for key in weights if key.endswith("coord_weight"))
    weights[key] = change(weights[key])
    checkpoint["state_dict"] = {key: weight for key, weight in weights.items() if weight is not None}
    if message is None:
        restore(CoordinateClassification, checkpoint, "painter")
        return
    with pytest.raises(CheckpointError, match=message):
        restore(CoordinateClassification, checkpoint, "painter")
