"""Tests of Field of MNIST: boxes, sizes of digits, splits, seeds, full MNIST, and damaged or hostile files."""

import os
import pickle
import struct
from pathlib import Path

import pytest
import torch

from lightning_coordconv.core.digits import full_mnist
from lightning_coordconv.detection import FieldOfMnist, field_of_mnist


def ink(image: torch.Tensor) -> tuple[int, int, int, int]:
    """Where an image has ink: x1, y1, x2, y2."""
    rows, columns = image.any(1).nonzero().flatten(), image.any(0).nonzero().flatten()
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@pytest.mark.slow
def test_one_digit_fills_its_box():
    data = FieldOfMnist("train", 50, num_digits=1, canvas=64)
    for sample in (data[index] for index in range(50)):
        ((x1, y1, x2, y2),) = sample["boxes"].tolist()
        assert 0 <= x1 < x2 <= 64
        assert 0 <= y1 < y2 <= 64
        found = ink(sample["image"][0] > 0)
        assert all(abs(mine - theirs) <= 1 for mine, theirs in zip(found, (x1, y1, x2, y2), strict=True))
        assert found[0] >= x1
        assert found[1] >= y1
        assert found[2] <= x2
        assert found[3] <= y2


def test_sizes_are_uniform_over_15_to_25():
    boxes = torch.cat(FieldOfMnist("train", 400, keep_outside=True).boxes)
    sides = (boxes[:, 2:] - boxes[:, :2]).flatten()
    counts = torch.bincount(sides.long(), minlength=26)
    assert counts[:15].sum() == 0
    assert counts[15:].min() > 0.7 * counts[15:].float().mean()
    assert len(counts) == 26


@pytest.mark.slow
def test_the_crop_keeps_as_many_digits_as_the_paper_s():
    kept = FieldOfMnist("train", 2000).boxes
    assert sum(map(len, kept)) / 2000 == pytest.approx(2.05, abs=0.1)
    assert {len(boxes) for boxes in kept} >= {0, 1, 2, 3, 4}
    centres = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2 for boxes in kept])
    assert centres.min() >= 0
    assert centres.max() < 64


def test_outside_boxes_on_request_and_cut_ones():
    outside = FieldOfMnist("train", 100, keep_outside=True)
    assert all(len(boxes) == 5 for boxes in outside.boxes)
    assert torch.cat(outside.boxes).min() < -20
    clipped = FieldOfMnist("train", 100, keep_outside=True, clip=True)
    for boxes, cut in zip(outside.boxes, clipped.boxes, strict=True):
        expected = [[max(0, x1), max(0, y1), min(64, x2), min(64, y2)] for x1, y1, x2, y2 in boxes.tolist()]
        assert cut.tolist() == [box for box in expected if box[0] < box[2] and box[1] < box[3]]


def test_overlapping_ink_adds_up_to_one(monkeypatch):
    blank = torch.full((5000, 28, 28), 200, dtype=torch.uint8), torch.zeros(5000, dtype=torch.int64)
    monkeypatch.setattr(field_of_mnist, "mnist_digits", lambda: blank)
    data = FieldOfMnist("val", 20, num_digits=3, canvas=40, crop=40)
    for sample in (data[index] for index in range(20)):
        covered = torch.zeros(40, 40)
        for x1, y1, x2, y2 in sample["boxes"].int().tolist():
            covered[y1:y2, x1:x2] += 200
        torch.testing.assert_close(sample["image"][0], covered.clamp(max=255) / 255)


@pytest.mark.slow
def test_splits_share_no_digit(monkeypatch):
    images, _ = field_of_mnist.mnist_digits()
    monkeypatch.setattr(field_of_mnist, "mnist_digits", lambda: (images, torch.arange(5000)))
    seen = {
        split: set(torch.cat(FieldOfMnist(split, 800, keep_outside=True).labels).tolist())
        for split in ("train", "val", "test")
    }
    assert len(seen["train"] | seen["val"] | seen["test"]) == sum(map(len, seen.values()))


def test_made_of_split_and_seed():
    first, again = FieldOfMnist("train", 5), FieldOfMnist("train", 5)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, FieldOfMnist("train", 5, seed=1).images)
    assert not torch.equal(first.images, FieldOfMnist("test", 5).images)


def test_batch_and_sample_agree():
    data = FieldOfMnist("test", 4)
    batch = data.__getitems__([2, 0])
    for position, index in enumerate((2, 0)):
        for key, value in data[index].items():
            assert torch.equal(batch[key][position], value)
    assert batch["image"].dtype == torch.float32
    assert 0 <= batch["image"].min() <= batch["image"].max() <= 1
    assert all(1 <= label <= 10 for labels in data.labels for label in labels)


def test_plot_draws_every_box():
    data = FieldOfMnist("val", 3, num_digits=2, canvas=64)
    (axes,) = data.plot(data[0]).axes
    assert len(axes.patches) == 2
    assert {text.get_text() for text in axes.texts} == {str(label - 1) for label in data.labels[0].tolist()}


def write_mnist(folder, train: int, test: int) -> None:
    """MNIST's own files, of images whose only pixel tells their number."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", train), ("t10k", test)):
        images = bytearray(784 * count)
        for number in range(count):
            images[784 * number + number % 784] = 255
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + images)
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + bytes(count))


def test_full_mnist_from_files(tmp_path):
    write_mnist(tmp_path, 60_000, 10_000)
    sizes = {split: len(full_mnist(str(tmp_path), split)[0]) for split in ("train", "val", "test")}
    assert sizes == {"train": 55_000, "val": 5_000, "test": 10_000}
    assert full_mnist(str(tmp_path), "val")[0][0].flatten().nonzero().item() == 55_000 % 784
    assert len(FieldOfMnist("test", 3, mnist_root=str(tmp_path))) == 3


class Hostile:
    """A pickle that leaves a trace where it is read."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


class TestForeignFolders:
    """A folder of MNIST from a stranger runs no code, does not hang, and is refused in a line that names the file."""

    @pytest.fixture
    def raw(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_mnist(tmp_path, 1, 10_000)
        return tmp_path / "MNIST" / "raw"

    def refused(self, raw, message):
        with pytest.raises(ValueError, match=message) as caught:
            full_mnist(str(raw.parents[1]), "test")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("write", [lambda path: path.write_bytes(pickle.dumps(Hostile())),
                                       lambda path: torch.save(torch.zeros(3), path)])  # fmt: skip
    def test_processed_files_are_not_read(self, raw, write):
        (raw.parent / "processed").mkdir()
        for name in ("training.pt", "test.pt"):
            write(raw.parent / "processed" / name)
        self.refused(raw, "processed is of an old torchvision: remove it")
        assert not Path("executed").exists()

    @pytest.mark.parametrize(
        "content",
        [b"", b"\0" * 3, b"x" * 100, struct.pack(">4i", 2051, 10_000, 28, 28),
         struct.pack(">4i", 2051, 2**30, 2**30, 28), struct.pack(">2i", 2049, 10_000) + bytes(10_000),
         pickle.dumps(Hostile())],
    )  # fmt: skip
    def test_a_damaged_file_is_named(self, raw, content):
        (raw / "t10k-images-idx3-ubyte").write_bytes(content)
        self.refused(raw, "t10k-images-idx3-ubyte")
        assert not Path("executed").exists()

    def test_labels_are_digits(self, raw):
        (raw / "t10k-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, 10_000) + bytes(9_999) + b"\x0a")
        self.refused(raw, "t10k-labels-idx1-ubyte has labels from 0 to 10, but digits are 0 to 9")

    def test_a_pipe_is_not_opened(self, raw):
        (raw / "t10k-images-idx3-ubyte").unlink()
        os.mkfifo(raw / "t10k-images-idx3-ubyte")
        self.refused(raw, "t10k-images-idx3-ubyte is not a regular file")


def test_missing_mnist_names_the_option(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"there is no MNIST in {tmp_path}: set download to true"):
        FieldOfMnist("train", 3, mnist_root=str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "all"}, "split must be one of .*, got 'all'"),
        ({"num_images": 0}, "num_images must be at least 1, got 0"),
        ({"num_digits": 0}, "num_digits must be at least 1, got 0"),
        ({"crop": 0}, "crop must be at least 1, got 0"),
        ({"canvas": 24, "crop": 20}, "canvas must be at least 25, got 24"),
        ({"canvas": 60}, "canvas must be at least 64, got 60"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        FieldOfMnist(**{"split": "train", "num_images": 2, **arguments})
