"""Tests of finding points in pictures: the CSV reader and its errors, learning, predictor, export, data check."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lightning_coordconv.classification import PooledClassifier
from lightning_coordconv.coordinates import PointImages, PointRegression, PointsDataModule, load, read_points
from lightning_coordconv.core.preprocessing import Preprocessing
from lightning_coordconv.runtime.cli import main
from tests.classification.test_task import quiet


def write(folder: Path, lines: str, images: int = 3, size: tuple[int, int] = (30, 20)) -> Path:
    for number in range(images):
        Image.new("RGB", size, (9 * number, 0, 0)).save(folder / f"{number}.png")
    (folder / "points.csv").write_text(lines)
    return folder / "points.csv"


GOOD = "image,x,y\n0.png,0,0\n1.png,29,19\n2.png,14.5,9.25\n"


def test_what_a_file_says(tmp_path):
    points = read_points(write(tmp_path, GOOD))
    assert [(point.name, point.x, point.y, point.size) for point in points] == [
        ("0.png", 0, 0, (30, 20)),
        ("1.png", 29, 19, (30, 20)),
        ("2.png", 14.5, 9.25, (30, 20)),
    ]


@pytest.mark.parametrize(
    "lines",
    ["\ufeffimage,x,y\n0.png,3,4\n", "y, note, image, x\n4, a, 0.png, 3\n", "image,x,y\r\n\r\n 0.png , 3 ,4\r\n"],
)
def test_other_ways_to_write_the_same(lines, tmp_path):
    (point,) = read_points(write(tmp_path, lines))
    assert (point.name, point.x, point.y) == ("0.png", 3, 4)


WRONG = {
    "image,x\n0.png,1\n": r"points.csv line 1 has no y: it names the columns image, x",
    "0.png,1,1\n": r"points.csv line 1 has no image, x, y",
    "": r"points.csv line 1 has no image, x, y",
    "image,x,y\n": r"points.csv has no line with a point",
    "image,x,y\n0.png,1\n": r"points.csv line 2 has no y",
    "image,x,y\n0.png,1,1\n1.png,,1\n": r"points.csv line 3 has no x",
    "image,x,y\n0.png,left,1\n": r"points.csv line 2 has x = 'left', but it must be a number in \[0, 29\]",
    "image,x,y\n0.png,1,nan\n": r"points.csv line 2 has y = 'nan', but it must be a number in \[0, 19\]",
    "image,x,y\n0.png,30,1\n": r"line 2 has x = '30'",
    "image,x,y\n0.png,1,-1\n": r"line 2 has y = '-1'",
    "image,x,y\n0.png,1,1\n0.png,2,2\n": r"points.csv line 3 names the image 0.png once more",
    'image,x,y\n"0.png\n': r"points.csv",
    "image,x,y\n0.png,1,1\n./0.png,2,2\n": r"line 3 names the image ./0.png once more, which is also 0.png",
    "image,x,y\n0.png,2,5,3,5\n": r"points.csv line 2 has fields without a column: 3, 5; numbers have a decimal point",
    "image,x,y,x\n0.png,1,1,2\n": r"points.csv line 1 names the columns x more than once",
    'image,x,y,note\n0.png,1,1,"a\n1.png,2,2,b\n2.png,3,3,c\n': r"points.csv is no CSV file in UTF-8: unexpected",
    'image,x,y,note\n0.png,1,1,"a\n1.png,2,2,b"\n2.png,3,3,c\n': r"points.csv line 3 has a line break in note",
    "image,x,y\n0.png,1_0,1\n": r"points.csv line 2 has x = '1_0'",
    "image,x,y\n0.png,\uff11,1\n": r"points.csv line 2 has x = '\uff11'",
}


@pytest.mark.parametrize("lines", WRONG)
def test_a_line_that_cannot_be_used_is_named(lines, tmp_path):
    with pytest.raises((ValueError, OSError), match=WRONG[lines]):
        read_points(write(tmp_path, lines))


@pytest.mark.parametrize("content", [b"image,x,y\n\xff\xfe,1,1\n", b"image,x,y\n\x00,1,1\n"])
def test_a_file_that_is_no_text_is_named(content, tmp_path):
    (tmp_path / "points.csv").write_bytes(content)
    with pytest.raises((ValueError, OSError), match=r"points\.csv"):
        read_points(tmp_path / "points.csv")


def test_images_that_are_missing_or_damaged_are_named_with_their_line(tmp_path):
    file = write(tmp_path, "image,x,y\n9.png,1,1\n")
    with pytest.raises(OSError, match=r"points.csv line 2: .*9\.png"):
        read_points(file)
    (tmp_path / "0.png").write_text("no image")
    with pytest.raises(OSError, match=r"points.csv line 2: .*0\.png"):
        read_points(write(tmp_path, "image,x,y\n0.png,1,1\n", images=0))
    with pytest.raises(
        FileNotFoundError, match=r"no file .*none\.csv: expected a CSV file with the columns image, x, y"
    ):
        read_points(tmp_path / "none.csv")


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


@pytest.mark.slow
def test_data_check_counts_draws_and_names_what_a_run_would_refuse(tmp_path, capsys):
    file = discs(tmp_path, 20)
    file.write_text(file.read_text() + "\nlost.png,1,1\n0.png,2,2\n1.png,99,3\n")
    with pytest.raises(SystemExit) as exited:
        main(["data", "check", str(file), "--out", str(tmp_path / "samples.png")])
    report = capsys.readouterr().out
    assert exited.value.code == 1
    assert "refused: 3 lines that cannot be used" in report
    assert re.search(r"points\.csv line 22: .*lost\.png", report)
    assert re.search(r"^train +16 +16 +48 x 32$", report, re.MULTILINE)
    assert "train with: lightning-coordconv fit -c coordinates/points_coordconv --data.file" in report
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.width > 1000


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


@pytest.mark.parametrize(
    ("lines", "noticed"),
    [
        ("0.png,0.1,0.2\n1.png,1,1\n2.png,0,0.5\n", True),
        (GOOD.partition("\n")[2], False),
        ("0.png,0.1,0.2\n1.png,1,2\n2.png,0,0\n", False),
    ],
)
def test_points_in_shares_of_the_image_are_noticed(lines, noticed, tmp_path, caplog, capsys):
    file = write(tmp_path, f"image,x,y\n{lines}")
    line = "all points are in the first pixels of their image: are they shares of its width and height?"
    with caplog.at_level("INFO"):
        PointsDataModule(str(file), 16, batch_size=1)
    assert (line in caplog.text) == noticed
    with pytest.raises(SystemExit):
        main(["data", "check", str(file), "--out", str(tmp_path / "out" / "samples.png")])
    assert (line in capsys.readouterr().out) == noticed
