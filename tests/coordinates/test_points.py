"""Tests of finding points in pictures: the sample's point, the distance in pixels, and learning with coordinates."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from lightning_coordconv.classification import PooledClassifier
from lightning_coordconv.coordinates import PointImages, PointRegression, PointsDataModule, read_points
from tests.classification.test_task import quiet


@pytest.mark.parametrize("turned", [False, True])
def test_a_sample_shows_the_point_where_the_file_says(turned, tmp_path):
    """The brightest pixel of the stretched picture is that of the point, also if the camera was turned."""
    picture = np.zeros((40, 80, 3), dtype=np.uint8)
    picture[10:14, 60:64] = 255
    image, exif = Image.fromarray(picture), Image.Exif()
    if turned:  # orientation 6: shown after a quarter turn to the right
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[0x0112] = 6
    image.save(tmp_path / "0.png", exif=exif)
    (tmp_path / "points.csv").write_text("image,x,y\n0.png,61.5,11.5\n")
    sample = PointImages(tmp_path, read_points(tmp_path / "points.csv"), 20)[0]
    assert sample["size"].tolist() == [80, 40]
    row, column = divmod(int(sample["image"].sum(0).argmax()), 20)
    expected = (sample["xy"] + 0.5) / sample["size"] * 20 - 0.5
    assert abs(column - expected[0]) <= 0.5
    assert abs(row - expected[1]) <= 0.5


def test_the_distance_is_in_pixels_of_the_file():
    class Middle(nn.Module):
        def forward(self, image):
            return torch.full((len(image), 2), 0.5)

    size = torch.tensor([[100.0, 50.0], [10.0, 10.0]])
    xy = torch.tensor([[49.5, 27.5], [1.5, 4.5]])
    batch = {"image": torch.zeros(2, 3, 8, 8), "xy": xy, "size": size, "path": ["a", "b"]}
    rows = PointRegression(Middle()).predict_step(batch, 0)
    torch.testing.assert_close(rows["distance"], torch.tensor([3.0, 3.0]))
    assert rows["predicted_x"].tolist() == [49.5, 4.5]
    with pytest.raises(ValueError, match=r"must return \(x, y\) for each picture, \(2, 2\), got \(2, 3\)"):
        PointRegression(nn.Sequential(nn.Flatten(), nn.Linear(192, 3))).evaluate(batch)


def discs(folder: Path, count: int) -> Path:
    """Write grey pictures of 48 x 32 pixels with a bright disc, whose middle is the point."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :48]
    lines = ["image,x,y"]
    for number in range(count):
        x, y = int(generator.integers(4, 44)), int(generator.integers(4, 28))
        disc = (rows - y) ** 2 + (columns - x) ** 2 < 16
        noise = generator.integers(0, 60, (32, 48))
        Image.fromarray((noise + 180 * disc).astype(np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{x},{y}")
    (folder / "points.csv").write_text("\n".join(lines))
    return folder / "points.csv"


@pytest.mark.slow
def test_coordinates_make_points_learnable(tmp_path):
    """The same network without coordinates does not know where it sees the disc."""
    distances = {}
    for coordinates in (True, False):
        torch.manual_seed(0)
        data = PointsDataModule(str(discs(tmp_path, 200)), image_size=32, num_workers=0)
        task = PointRegression(PooledClassifier(2, coordinates, channels=3), partial(torch.optim.Adam, lr=0.01))
        run = quiet(tmp_path, max_epochs=25, limit_val_batches=0)
        run.fit(task, data)
        (metrics,) = run.test(task, data, verbose=False)
        distances[coordinates] = metrics["test/distance"]
    assert distances[True] < 4
    assert distances[False] > 2 * distances[True]


def test_pictures_without_a_point_are_predicted(tmp_path):
    task = PointRegression(PooledClassifier(2, True, channels=3))
    picture = torch.rand(3, 16, 16)
    samples = [{"image": picture, "size": torch.tensor([20.0, 30.0]), "path": "a.png"}]
    (columns,) = quiet(tmp_path).predict(task, DataLoader(samples))
    assert columns.keys() == {"path", "predicted_x", "predicted_y"}
    x, y = task.net(picture[None])[0] * torch.tensor([20.0, 30.0]) - 0.5
    assert (columns["predicted_x"].item(), columns["predicted_y"].item()) == pytest.approx((x.item(), y.item()))
