"""Tests of which samples are read, and that NumPy's types and lists are read as the tensors loaders make of them."""

import numpy as np
import pytest
import torch

from lightning_coordconv.position import observe
from lightning_coordconv.position.samples import read_samples
from tests.position.samples import GivenDataModule, images

MAP = torch.rand(32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "tensor", "other"),
    [
        ("depth", MAP, MAP.numpy()),
        ("angle", torch.tensor(0.5), np.float32(0.5)),
        ("angle", torch.tensor(0.5), np.array(0.5)),
        ("angle", torch.tensor([0.5]), [0.5]),
        ("mask", (MAP > 0.5).long(), (MAP > 0.5).long().numpy()),
        ("label", torch.tensor(2), np.int64(2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_observations_are_those_of_tensors(name, tensor, other):
    (wanted,) = observe([{"image": image, name: tensor} for image in images(4)])
    (found,) = observe([{"image": image, name: other} for image in images(4)])
    assert found.what == wanted.what
    assert not found.what.startswith("brightness")
    assert torch.equal(found.targets, wanted.targets)
    assert torch.equal(found.positions, wanted.positions)


@pytest.mark.parametrize("angles", [[0.1, 0.2, 0.3], np.array([0.1, 0.2, 0.3]), (np.float32(0.1), np.float32(0.2))])
def test_numbers_of_no_known_form_are_not_left_out_for_the_brightness(angles):
    assert observe([{"image": image, "angles": angles} for image in images(4)]) == []


def test_what_is_not_read_is_named():
    (found,) = observe([{"image": image, "count": 3, "path": f"{number}"} for number, image in enumerate(images(4))])
    assert found.what == "brightness of a pixel given its place (count of the samples not read)"


def test_boxes_in_shares_of_the_image_are_refused():
    boxes = {"boxes": torch.tensor([[0.1, 0.2, 0.5, 0.9]]), "labels": torch.tensor([1])}
    with pytest.raises(ValueError, match=r"boxes must be .* in pixels, but all numbers are from 0\.1 to 0\.9"):
        observe([{"image": image, **boxes} for image in images(4)])


@pytest.mark.parametrize("period", [2, 3, 4, 5, 8])
def test_samples_are_of_all_kinds_where_kinds_alternate(period):
    kinds = [{"image": torch.zeros(1, 2, 2), "kind": number % period, "number": number} for number in range(960)]
    for read in (120, 240, 480):
        samples = read_samples(GivenDataModule(kinds), read)
        counts = torch.tensor([sample["kind"] for sample in samples]).bincount(minlength=period)
        assert counts.min() > 0.6 * read / period
        numbers = [sample["number"] for sample in samples]
        assert numbers == sorted(set(numbers))
        assert numbers == [sample["number"] for sample in read_samples(GivenDataModule(kinds), read)]
    assert [sample["number"] for sample in read_samples(GivenDataModule(kinds), 5000)] == list(range(960))


@pytest.mark.parametrize(("asked", "said"), [(7, "has 6 samples, not 7: all of them are read"), (6, None)])
def test_fewer_samples_than_asked_for_are_said(asked, said, caplog):
    with caplog.at_level("INFO"):
        assert len(read_samples(GivenDataModule([{"image": torch.zeros(1, 2, 2)}] * 6), asked)) == 6
    assert said in caplog.text if said else not caplog.text
