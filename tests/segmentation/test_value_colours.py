"""Tests of masks whose values a program renumbered: refused or named, and masks of other colours read as ever."""

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_coordconv.runtime.cli import main
from lightning_coordconv.segmentation import MaskFolderDataModule
from lightning_coordconv.segmentation.mask_files import read_mask
from lightning_coordconv.segmentation.mask_writer import save_mask
from tests.segmentation.masks import VALUES, dataset, save

NAMED = "masks in which a value has another colour than in others"


def voc_colours(count: int) -> bytes:
    """Return the first colours of Pascal VOC: the bits of a value are the high bits of red, green and blue in turn."""
    colours = [
        sum(((value >> (3 * place + channel)) & 1) << (7 - place) for place in range(3))
        for value in range(count)
        for channel in range(3)
    ]
    return bytes(colours)


def indexed(values: np.ndarray, colours: bytes) -> Image.Image:
    mask = Image.fromarray(values.astype(np.uint8))
    mask.putpalette(colours)
    return mask


def renumbered(mask: Image.Image) -> Image.Image:
    """Return what a compressor makes of an indexed mask: a palette of the colours that occur, in order of values."""
    palette = np.array(mask.getpalette()).reshape(-1, 3)
    present, values = np.unique(np.asarray(mask), return_inverse=True)
    return indexed(values.reshape(mask.height, mask.width), palette[present].astype(np.uint8).tobytes())


def compressed(mask: Image.Image) -> Image.Image:
    """Return what a compressor makes of a grey mask of 0 and 255: a file of one bit a pixel."""
    assert set(np.unique(np.asarray(mask))) <= {0, 255}
    return Image.fromarray(np.asarray(mask) == 255)


@pytest.fixture
def folder(tmp_path):
    """Write masks, of the kind that a function returns for a number, into folders of splits, and return their root."""

    def write(make, ending="png"):
        for number in range(6):
            split = tmp_path / "data" / ("train" if number < 4 else "val")
            for kind in ("images", "masks"):
                (split / kind).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 10), (number, 0, 0)).save(split / "images" / f"{number}.png")
            make(number).save(split / "masks" / f"{number}.{ending}")
        return tmp_path / "data"

    return write


def said(folder, caplog) -> list[str]:
    """Return the lines that name masks as a run begins."""
    data = MaskFolderDataModule(str(folder), 255, num_workers=0)
    with caplog.at_level("INFO"):
        for split in ("train", "val"):
            data.dataset(split)
    return [line for line in caplog.messages if NAMED in line]


def two(number: int) -> np.ndarray:
    """Return a mask of the background and one class, 1, 2 or 3."""
    return (VALUES > 0) * (1 + number % 3)


def test_gif_is_refused_by_ending_and_content(pair):
    save(pair, VALUES.astype(np.uint8), "a.png", format="GIF")
    with pytest.raises(ValueError, match=r"a\.png is a mask in a format \(GIF\) in which programs renumber values"):
        dataset(pair)[0]
    (pair / "masks" / "a.png").rename(pair / "masks" / "a.gif")
    with pytest.raises(ValueError, match=r"a\.gif is a mask in a format \(GIF\) .* save them as PNG"):
        dataset(pair)


@pytest.mark.parametrize(
    ("greys", "value", "grey"), [((0, 2), 1, 2), ((0, 255), 1, 255), ((255, 0), 0, 255), ((3, 7), 0, 3)]
)
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_palette_of_greys_that_are_not_the_values_is_refused(pair, greys, value, grey, suffix):
    mask = indexed(VALUES > 0, bytes(np.repeat(greys, 3).astype(np.uint8)))
    save(pair, mask, f"a.{suffix}")
    with pytest.raises(ValueError, match=rf"a\.{suffix} has a palette of greys in which the value {value} is the grey"):
        read_mask(pair / "masks" / f"a.{suffix}", 255, -1)
    save(pair, np.array(mask), "b.png")  # the ways out that the error names
    assert read_mask(pair / "masks" / "b.png", 255, -1).unique().tolist() == [0, 1]
    save(pair, mask.convert("L"), "b.png")
    assert read_mask(pair / "masks" / "b.png", 256, -1).unique().tolist() == sorted(greys)


@pytest.mark.parametrize("colours", [bytes(range(256)), bytes(range(3)), voc_colours(256), voc_colours(3)])
def test_a_palette_of_greys_that_are_the_values_or_of_colours_is_read(pair, colours):
    if colours[:3] == b"\0\1\2":
        colours = bytes(np.repeat(np.frombuffer(colours, np.uint8), 3))
    save(pair, indexed(VALUES, colours))
    assert torch.equal(dataset(pair)[0]["mask"], torch.from_numpy(VALUES).long())


def test_two_values_of_a_palette_of_colours_may_be_grey(pair):
    """The colours 0 and 7 of Pascal VOC are black and grey 128."""
    save(pair, indexed((VALUES > 0) * 7, voc_colours(256)))
    assert read_mask(pair / "masks" / "a.png", 8, -1).unique().tolist() == [0, 7]


@pytest.mark.parametrize("odd", [0, 2, 5])
def test_masks_whose_palettes_were_renumbered_are_named(folder, caplog, odd):
    """In the first split, by the palette of most of its files; in others also by those of the first."""

    def make(number):
        mask = indexed(two(number) if number != odd else (VALUES > 0) * 3, voc_colours(256))
        return renumbered(mask) if number == odd else mask

    root = folder(make)
    (line,) = said(root, caplog)
    split = "train" if odd < 4 else "val"
    assert line.startswith(f"{NAMED} (1): {root / split / 'masks' / f'{odd}.png'}; classes are values, not colours")


def test_splits_with_other_palettes_are_named(folder, caplog):
    swapped = voc_colours(1) + voc_colours(3)[6:] + voc_colours(3)[3:6]
    (line,) = said(folder(lambda number: indexed(VALUES, voc_colours(256) if number < 4 else swapped)), caplog)
    assert line.startswith(f"{NAMED} (2): ")
    assert "val/masks/4.png" in line


def test_grey_masks_of_fewer_bits_than_others_are_named(folder, caplog):
    """A value 1 that is white was 255 before: not the class 1."""
    ignored = (VALUES > 0) * np.uint8(255)
    greys = {1: compressed(Image.fromarray(ignored)), 4: compressed(Image.fromarray(ignored))}
    lines = said(folder(lambda number: greys.get(number, Image.fromarray(VALUES.astype(np.uint8)))), caplog)
    assert [line.split(";")[0].split("masks/")[-1] for line in lines] == ["1.png", "4.png"]


@pytest.mark.parametrize(
    "make",
    [
        lambda number: indexed(VALUES, voc_colours([256, 21, 3][number % 3])),
        lambda number: indexed(two(number), voc_colours(256)[: 3 * (2 + number % 3)].ljust(768, b"\0")),
        lambda number: indexed(VALUES, voc_colours(256)) if number % 2 else Image.fromarray(VALUES.astype(np.uint8)),
        lambda number: Image.fromarray(VALUES.astype(np.uint8) if number % 2 else VALUES.astype(np.uint16)),
        lambda number: Image.fromarray(VALUES > 0),
    ],
    ids=["truncated", "filled with black", "colours and greys", "8 and 16 bits", "1 bit"],
)
def test_masks_that_agree_are_not_named(folder, caplog, make):
    assert said(folder(make), caplog) == []


def test_predicted_masks_agree(folder, caplog, tmp_path):
    root = folder(lambda number: Image.fromarray(VALUES.astype(np.uint8)))
    for number, path in enumerate(sorted(root.glob("*/masks/*.png"))):
        save_mask(torch.from_numpy(two(number)).to(torch.uint8), path)
        assert read_mask(path, 255, -1).unique().tolist() == [0, 1 + number % 3]
    assert said(root, caplog) == []


def test_data_check_names_and_refuses_them(folder, capsys, tmp_path):
    grey = indexed(VALUES > 0, bytes([0, 0, 0, 2, 2, 2]))
    makes = {1: renumbered(indexed((VALUES > 0) * 2, voc_colours(256))), 2: grey}
    root = folder(lambda number: makes.get(number, indexed(VALUES, voc_colours(256))))
    with pytest.raises(SystemExit) as exited:
        main(["data", "check", str(root), "--out", str(tmp_path / "samples.png")])
    report = capsys.readouterr().out
    assert exited.value.code == 1
    assert f"note: {NAMED} (1): {root}/train/masks/1.png" in report
    assert "refused: samples that contradict themselves (1)" in report
    assert "2.png has a palette of greys in which the value 1 is the grey 2" in report


def test_masks_are_compared_by_their_headers(folder, monkeypatch):
    root = folder(lambda number: indexed(VALUES, voc_colours(256)))
    data = MaskFolderDataModule(str(root), 255, num_workers=0)
    masks = sorted(root.glob("*/masks/*.png"))
    decoded = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded.append)
    data.colours_of_masks.report(masks)
    assert not decoded
