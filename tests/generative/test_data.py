"""Tests of generative data modules (Sort-of-CLEVR, pictures, LSUN): damaged files, wrong options, proposed commands."""

import io
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_coordconv.generative import LSUNDataModule, SortOfClevrDataModule, UnlabelledImagesDataModule
from lightning_coordconv.generative.survey import surveys


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures of 40 x 20 pixels in folders of two depths, the left half dark."""
    for i in range(12):
        path = tmp_path / ("a" if i % 2 else "b/c") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGB", (40, 20), (255, 10 * i, 0))
        image.paste((0, 10 * i, 0), (0, 0, 20, 20))
        image.save(path)
    return tmp_path


@pytest.fixture
def lsun(tmp_path):
    """Six training and two validation images in LSUN's format: JPEG files by key."""
    lmdb = pytest.importorskip("lmdb")
    for split, count in (("train", 6), ("val", 2)):
        folder = tmp_path / f"bedroom_{split}_lmdb"
        with lmdb.open(str(folder), map_size=1 << 20) as database, database.begin(write=True) as transaction:
            for i in range(count):
                buffer = io.BytesIO()
                Image.new("RGB", (50, 30), (40 * i, 0, 0)).save(buffer, "JPEG")
                transaction.put(f"{i}".encode(), buffer.getvalue())
    return tmp_path


def test_sort_of_clevr_by_split():
    data = SortOfClevrDataModule(count=50, eval_count=7, canvas=16, radius=3, batch_size=8, eval_batch_size=4, seed=2)
    batches = list(data.train_dataloader())
    assert [len(batch["image"]) for batch in batches] == [8] * 6  # two images that fill no batch are left out
    assert set(batches[0]) == data.sample_keys
    assert [len(batch["image"]) for batch in data.test_dataloader()] == [4, 3]
    train, val, test, predict = (data.dataset(split) for split in ("train", "val", "test", "predict"))
    assert (len(train), len(val), len(test)) == (50, 7, 7)
    assert torch.equal(test.images, predict.images)
    assert not torch.equal(test.images, val.images)
    assert not torch.equal(train.images[:7], val.images)
    assert data.plot(val[0]).axes[0].images


def test_pictures_are_squares_in_the_range_of_tanh(pictures):
    data = UnlabelledImagesDataModule(str(pictures), image_size=8, eval_count=3, batch_size=2, num_workers=0)
    batch = next(iter(data.train_dataloader()))
    assert set(batch) >= data.sample_keys
    assert batch["image"].shape == (2, 3, 8, 8)
    image = data.dataset("val")[0]["image"]
    assert torch.equal(image[2], torch.full((8, 8), -1.0))
    assert image[0, :, :3].max() < -0.9  # the middle square is half dark
    assert image[0, :, 5:].min() > 0.9
    assert data.plot({"image": image}).axes[0].images


def test_no_picture_is_in_two_splits(pictures):
    data = UnlabelledImagesDataModule(str(pictures), eval_count=3, batch_size=4, num_workers=0)
    splits = [{sample["path"] for sample in data.dataset(split)} for split in ("train", "val", "test", "predict")]
    assert [len(split) for split in splits] == [6, 3, 3, 3]
    assert len(set().union(*splits)) == 12
    assert splits[2] == splits[3]
    other = UnlabelledImagesDataModule(str(pictures), eval_count=3, batch_size=4, num_workers=0, seed=1)
    assert {sample["path"] for sample in other.dataset("val")} != splits[1]


@pytest.mark.parametrize(("flip", "sides"), [(True, 2), (False, 1)])
def test_training_pictures_are_mirrored(pictures, flip, sides):
    dataset = UnlabelledImagesDataModule(
        str(pictures), 8, eval_count=3, flip=flip, batch_size=4, num_workers=0
    ).dataset("train")
    torch.manual_seed(0)
    assert len({(dataset[0]["image"][0, 0, 0] > 0).item() for _ in range(20)}) == sides


def test_lsun(lsun):
    data = LSUNDataModule(str(lsun), image_size=16, batch_size=2, eval_batch_size=2, num_workers=0)
    assert [len(data.dataset(split)) for split in ("train", "val", "test", "predict")] == [6, 2, 2, 2]
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 3, 16, 16)
    reds = sorted(round((sample["image"][0].mean().item() + 1) * 127.5) for sample in
                  (data.dataset("train")[i] for i in range(6)))  # fmt: skip
    assert reds == pytest.approx([0, 40, 80, 120, 160, 200], abs=3)


def test_lsun_keys_may_end_in_zeros(lsun):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(lsun / "bedroom_train_lmdb")) as database, database.begin(write=True) as transaction:
        for key in (b"0\0", b"0\0\0", (1).to_bytes(4, "little")):
            transaction.put(key, transaction.get(b"5"))
    dataset = LSUNDataModule(str(lsun), image_size=16, batch_size=2, num_workers=0).dataset("train")
    reds = [round((dataset[i]["image"][0].mean().item() + 1) * 127.5) for i in range(9)]
    assert sorted(reds) == pytest.approx([0, 40, 80, 120, 160, 200, 200, 200, 200], abs=3)


def test_damaged_lsun_image(lsun):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(lsun / "bedroom_train_lmdb")) as database, database.begin(write=True) as transaction:
        transaction.put(b"0", b"not a JPEG file")
    data = LSUNDataModule(str(lsun), batch_size=2, num_workers=0)
    with pytest.raises(OSError, match=r"image 0 of .*bedroom_train_lmdb cannot be read: .*; get the data again"):
        data.dataset("train")[0]


@pytest.mark.parametrize("kind", ["16 bits", "floating point", "EPS"])
def test_lsun_images_are_opened_by_the_rules_of_images(lsun, kind):
    """White is where 16 bits say it is; values without a scale, and a format that runs a program, are refused."""
    file = io.BytesIO()
    if kind == "16 bits":
        Image.fromarray(np.full((40, 48), 32_768, np.uint16)).save(file, "PNG")
    elif kind == "floating point":
        Image.fromarray(np.full((40, 48), 0.5, np.float32)).save(file, "TIFF")
    else:
        file.write(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 40\n%%EndComments\nshowpage\n%%EOF\n")
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(lsun / "bedroom_train_lmdb")) as database, database.begin(write=True) as transaction:
        transaction.put(b"0", file.getvalue())
    data = LSUNDataModule(str(lsun), batch_size=2, num_workers=0)
    if kind == "16 bits":
        assert data.dataset("train")[0]["image"].mean() == pytest.approx(0, abs=0.01)
    else:
        with pytest.raises(OSError, match=r"image 0 of .* cannot be read: it (holds floating|is a file of the format)"):
            data.dataset("train")[0]


def test_lsun_reads_its_own_keys_and_writes_nothing(lsun, tmp_path_factory, monkeypatch):
    """A pickle in the working folder, where torchvision keeps its list of keys, is not opened."""
    folder = tmp_path_factory.mktemp("working")
    monkeypatch.chdir(folder)
    for name in ("_cache_bedroomtrainlmdb", "_cache_rowmbcdeietantmlbd"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    before = {path: path.stat().st_mtime_ns for path in [*folder.iterdir(), *lsun.rglob("*")]}
    other = shutil.copytree(lsun, tmp_path_factory.mktemp("other") / "lsun")
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(other / "bedroom_train_lmdb")) as database, database.begin(write=True) as transaction:
        transaction.delete(b"3")
    sizes = [len(LSUNDataModule(str(root), batch_size=2).dataset("train")) for root in (lsun, other)]
    assert sizes == [6, 5]
    assert {path: path.stat().st_mtime_ns for path in [*folder.iterdir(), *lsun.rglob("*")]} == before


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_lsun_is_opened_once_a_process(lsun, context):
    data = LSUNDataModule(str(lsun), image_size=16, flip=False, batch_size=2, num_workers=0).dataset("train")
    here = torch.stack([data[i]["image"] for i in range(6)])  # so the database is open when worker processes start
    loader = DataLoader(data, 3, num_workers=2, multiprocessing_context=context)
    assert torch.equal(torch.cat([batch["image"] for batch in loader]), here)
    assert torch.equal(data[3]["image"], here[3])


@pytest.mark.parametrize("damage", ["no database", "no images"])
def test_unreadable_lsun_is_named(lsun, damage):
    file = lsun / "bedroom_train_lmdb" / "data.mdb"
    if damage == "no database":
        file.write_bytes(b"something else" * 1000)
    else:
        shutil.rmtree(file.parent)
        with pytest.importorskip("lmdb").open(str(file.parent)):
            pass
    message = "cannot be read as an LMDB database" if damage == "no database" else "has no images"
    with pytest.raises(OSError, match=rf"bedroom_train_lmdb {message}.*; get the data again"):
        LSUNDataModule(str(lsun), batch_size=2)


def test_fewer_images_than_a_batch_are_refused(pictures, lsun):
    """An epoch without a step would end in the test of an untrained network."""
    with pytest.raises(ValueError, match=r"count must be at least batch_size = 16, got 15: there would be no step"):
        SortOfClevrDataModule(count=15, canvas=16, radius=3)
    with pytest.raises(ValueError, match=r"training images in .* must be at least batch_size = 7, got 6"):
        UnlabelledImagesDataModule(str(pictures), eval_count=3, batch_size=7)
    with pytest.raises(ValueError, match=r"images in .*bedroom_train_lmdb must be at least batch_size = 7, got 6"):
        LSUNDataModule(str(lsun), batch_size=7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count must be at least batch_size = 4, got 0"),
        ({"count": -5}, "count must be at least batch_size = 4, got -5"),
        ({"eval_count": 0}, "eval_count must be at least 1, got 0"),
        ({"radius": 0}, "radius must be at least 1, got 0"),
        ({"canvas": 15}, "canvas must be at least 16 for two objects of radius 3, got 15"),
        ({"canvas": -16}, "canvas must be at least 16 for two objects of radius 3, got -16"),
        ({"shapes": []}, "shapes must be one or more of"),
    ],
)
def test_sort_of_clevr_out_of_range_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SortOfClevrDataModule(**{"count": 8, "eval_count": 4, "canvas": 16, "radius": 3, "batch_size": 4} | arguments)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.count=8"], "count must be at least batch_size = 16, got 8: there would be no step"),
        (["--data.eval_count=0"], "eval_count must be at least 1, got 0"),
        (["--data.radius=-3"], "radius must be at least 1, got -3"),
        (["--data.canvas=17"], "canvas must be at least 26 for two objects of radius 5, got 17"),
        (["--model.discriminator.init_args.canvas=17"], "canvas must be a power of two from 8 on, got 17"),
        (["--model.generator.init_args.width=-2"], "width must be at least 1, got -2"),
        (["--model.object_radius=0"], "object_radius must be at least 1 or null, got 0"),
        (["--model.r1=-1"], "r1 must be finite and not negative, got -1.0"),
        (["--model.r1=.nan"], "r1 must be finite and not negative, got nan"),
        (["--model.feature_matching=.inf"], "feature_matching must be finite and not negative, got inf"),
        (["--model.generator_steps=0"], "generator_steps must be at least 1, got 0"),
        (["--model.ema_decay=1"], "ema_decay must be in [0, 1), got 1.0"),
        (["--model.binary_latents=9"], "binary_latents must be from 0 to latent_size, 8, got 9"),
    ],
)
def test_parameters_out_of_range_are_named_on_the_command_line(cli, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_info:
        cli("fit", "-c", "generative/small_coordconv", *arguments)
    assert exit_info.value.code != 0
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_missing_lsun_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"kitchen_train_lmdb: get download.py .* -c kitchen -o"):
        LSUNDataModule(str(tmp_path), "kitchen")


def test_damaged_picture(pictures):
    path = pictures / "a" / "1.png"
    path.write_bytes(path.read_bytes()[:30])
    data = UnlabelledImagesDataModule(str(pictures), eval_count=1, batch_size=4, num_workers=0)
    with pytest.raises(OSError, match=r"a/1\.png cannot be read as an image: .*; replace or remove it"):
        [sample for split in ("train", "val", "test") for sample in data.dataset(split)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"root": "nowhere"}, FileNotFoundError, "there is no folder nowhere"),
        (
            {"eval_count": 6},
            ValueError,
            "has too few images, 12, to hold out 6 for validation .*: at most 5 can be held out",
        ),
        ({"eval_count": 0}, ValueError, "eval_count must be at least 1, got 0"),
        ({"image_size": 0}, ValueError, "image_size must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(pictures, arguments, error, message):
    with pytest.raises(error, match=message):
        UnlabelledImagesDataModule(**{"root": str(pictures), "batch_size": 2} | arguments)


@pytest.mark.parametrize("count", [20, 60, 200])
def test_the_command_for_a_folder_has_the_steps_of_the_config_and_few_validations(count, tmp_path):
    for number in range(count):
        Image.new("L", (4, 4), number).save(tmp_path / f"{number}.png")
    options = surveys(tmp_path)["pictures"](10).options.split()
    named = dict(zip(options[::2], options[1::2], strict=True))
    epochs, every = int(named["--trainer.max_epochs"]), int(named["--trainer.check_val_every_n_epoch"])
    batches = (count - 2 * int(named["--data.eval_count"])) // 16
    assert 3500 <= epochs * batches <= 3600
    assert epochs % every == 0
    assert 4 <= epochs // every <= 7
