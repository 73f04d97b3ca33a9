"""Tests of the trained point finder in Python: predictions, kinds of input, orientation, drawing, export, errors."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_coordconv.classification import PooledClassifier
from lightning_coordconv.coordinates import PointRegression, PointsDataModule, load
from lightning_coordconv.core.preprocessing import Preprocessing
from lightning_coordconv.runtime.cli import main
from tests.classification.test_task import quiet


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a network trained on pictures with a white spot, beside ``points.csv``."""
    folder = tmp_path_factory.mktemp("points")
    generator = np.random.default_rng(0)
    lines = ["image,x,y"]
    for number in range(30):
        x, y = int(generator.integers(6, 54)), int(generator.integers(6, 34))
        values = np.zeros((40, 60, 3), np.uint8)
        values[y - 4 : y + 5, x - 4 : x + 5] = 255
        Image.fromarray(values).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{x},{y}")
    (folder / "points.csv").write_text("\n".join(lines) + "\n")
    torch.manual_seed(0)
    data = PointsDataModule(str(folder / "points.csv"), image_size=32, batch_size=8, num_workers=0)
    task = PointRegression(
        PooledClassifier(2, coordinates=True, channels=3), optimizer=partial(torch.optim.Adam, lr=0.005)
    )
    run = quiet(folder, max_epochs=3, limit_val_batches=0)
    run.fit(task, data)
    run.save_checkpoint(folder / "last.ckpt")
    return folder


@pytest.mark.slow
def test_a_loaded_model_predicts_what_the_trainer_predicts_in_pixels_of_the_file(trained, tmp_path):
    model = load(trained / "last.ckpt", device="cpu")
    data = PointsDataModule(str(trained / "points.csv"), image_size=32, batch_size=8, num_workers=0)
    (batch,) = quiet(tmp_path).predict(model.task, data)
    found = model.predict(batch["path"])
    for result, x, y in zip(found, batch["predicted_x"].tolist(), batch["predicted_y"].tolist(), strict=True):
        assert (result.x, result.y, result.size) == (pytest.approx(x, abs=1e-3), pytest.approx(y, abs=1e-3), (60, 40))


def test_each_form_of_a_picture_has_the_same_point(trained):
    model = load(trained / "last.ckpt", device="cpu")
    path = trained / "0.png"
    expected = model.predict(path)
    array = np.asarray(Image.open(path))
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    for form in (str(path), Image.open(path), array, tensor):
        assert (model.predict(form).x, model.predict(form).y) == (expected.x, expected.y)
    assert model.predict(tensor / 255).x == pytest.approx(expected.x, abs=0.5)  # torch resizes slightly otherwise
    assert len(model.predict(np.stack([array, array]))) == 2
    assert len(model.predict(trained)) == 30


def test_a_picture_is_turned_as_its_exif_orientation_says(trained, tmp_path):
    model = load(trained / "last.ckpt", device="cpu")
    upright = Image.open(trained / "0.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    expected = model.predict(trained / "0.png")
    for form in (tmp_path / "turned.png", Image.open(tmp_path / "turned.png")):
        found = model.predict(form)
        assert (found.x, found.y, found.size) == (expected.x, expected.y, (60, 40))
        assert found.draw().axes[0].images[0].get_array().shape[:2] == (40, 60)


@pytest.mark.slow
def test_a_point_is_drawn_and_saved(trained, tmp_path):
    result = load(trained / "last.ckpt", device="cpu").predict(trained / "0.png")
    assert str(result) == repr(result) == f"{trained / '0.png'}: ({result.x:.1f}, {result.y:.1f})"
    (cross,) = result.draw().axes[0].lines
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (pytest.approx(result.x), pytest.approx(result.y))
    with Image.open(result.save(tmp_path / "new" / "point.png")) as saved:
        assert saved.size == result.plot().size


@pytest.mark.slow
def test_an_exported_network_returns_the_point_in_units_of_the_picture(trained, tmp_path):
    main(["export", str(trained / "last.ckpt"), str(tmp_path / "points.pt2")])
    result = load(trained / "last.ckpt", device="cpu").predict(trained / "0.png")
    image = Preprocessing(stretch=32)(Image.open(trained / "0.png"))
    ((x, y),) = torch.export.load(tmp_path / "points.pt2").module()(image[None]).tolist()
    assert (x * 60 - 0.5, y * 40 - 0.5) == (pytest.approx(result.x, abs=1e-3), pytest.approx(result.y, abs=1e-3))


def test_what_cannot_be_predicted_is_named(trained, tmp_path):
    model = load(trained / "last.ckpt", device="cpu")
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*none\.png"):
        model.predict(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(OSError, match=r"text\.png"):
        model.predict(tmp_path / "text.png")
    with pytest.raises(TypeError, match="the image is a int: expected a path"):
        model.predict(3)
