"""Tests that runs, resumed runs and tests keep the split of their checkpoint when files change or move."""

import json
import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.task import BaseTask
from lightning_coordconv.detection import CocoDetectionDataModule, VocDetectionDataModule
from lightning_coordconv.generative import UnlabelledImagesDataModule
from lightning_coordconv.runtime.callbacks import SplitFile
from lightning_coordconv.segmentation import MaskFolderDataModule

XML = """<annotation><size><width>8</width><height>8</height></size><object><name>thing</name>
<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>6</xmax><ymax>6</ymax></bndbox></object></annotation>"""


@pytest.mark.parametrize("name", ["segmentation", "generative"])
def test_an_image_behind_several_links_is_in_one_part(name, tmp_path, caplog):
    write(tmp_path, range(12))
    for number in range(20, 30):
        (tmp_path / "images" / f"{number}.png").symlink_to("3.png")
        (tmp_path / "masks" / f"{number}.png").symlink_to("3.png")
    data = MODULES[name](tmp_path, 0)
    with caplog.at_level(logging.INFO):
        sets = [data.dataset(part) for part in ("train", "val", "test")]
    paths = [Path(path) for found in sets for path in (found.images if name == "segmentation" else found.paths)]
    assert len({path.resolve() for path in paths}) == len(paths) == 12
    assert "that are links to others of them (10): " in caplog.text
    assert ": 3.png" not in caplog.text


def write(root: Path, numbers: range) -> None:
    """Write images with a mask and an XML file of the same name each, and the boxes of all in COCO's format."""
    for folder in ("images", "masks", "Annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(root / "images" / f"{number}.png")
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(root / "masks" / f"{number}.png")
        (root / "Annotations" / f"{number}.xml").write_text(XML)
    write_coco(root)


def write_coco(root: Path) -> None:
    numbers = sorted(int(path.stem) for path in (root / "images").glob("*.png"))
    content = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 8, "height": 8} for number in numbers],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
            for number in numbers
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (root / "boxes.json").write_text(json.dumps(content))


MODULES = {
    "segmentation": lambda root, seed: MaskFolderDataModule(str(root), 2, batch_size=2, num_workers=0, seed=seed),
    "VOC": lambda root, seed: VocDetectionDataModule(str(root), batch_size=2, num_workers=0, seed=seed),
    "COCO": lambda root, seed: CocoDetectionDataModule(
        str(root), "boxes.json", train_images="images", batch_size=2, num_workers=0, seed=seed
    ),
    "generative": lambda root, seed: UnlabelledImagesDataModule(
        str(root / "images"), 8, eval_count=2, batch_size=2, num_workers=0, seed=seed
    ),
}


class Recorder(LightningModule):
    """Keeps the names of the files of each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: dict[str, set[str]] = {"train": set(), "val": set(), "test": set()}

    def record(self, stage: str, batch: dict) -> torch.Tensor:
        self.seen[stage] |= {Path(path).stem for path in batch["path"]}
        return self.weight.sum()

    def training_step(self, batch: dict, batch_idx: int) -> torch.Tensor:
        return self.record("train", batch)

    def validation_step(self, batch: dict, batch_idx: int) -> None:
        self.record("val", batch)

    def test_step(self, batch: dict, batch_idx: int) -> None:
        self.record("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, epochs: int) -> Trainer:
    logger = TensorBoardLogger(folder, name="", version="run")
    return Trainer(
        max_epochs=epochs, accelerator="cpu", logger=logger, callbacks=[SplitFile()],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip


def fitted(data: BaseDataModule, folder: Path) -> tuple[Recorder, Path]:
    task, run = Recorder(), trainer(folder, 1)
    run.fit(task, data)
    run.save_checkpoint(folder / "last.ckpt")
    return task, folder / "last.ckpt"


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_a_run_that_resumes_and_a_test_keep_the_split_when_a_file_was_added(name, tmp_path, caplog):
    write(tmp_path / "data", range(20))
    with caplog.at_level("INFO"):
        first, checkpoint = fitted(MODULES[name](tmp_path / "data", 0), tmp_path)
    file = tmp_path / "run" / "split.json"
    (line,) = [message for message in caplog.messages if message.startswith("Split by chance: ")]
    kind = "XML files" if name == "VOC" else "images"
    assert line == f"Split by chance: 16 {kind} for training, 2 for validation, 2 for the test ({file})"
    written = json.loads(file.read_text())
    assert {part: {Path(each).stem for each in written[part]} for part in ("train", "val")} == {
        part: first.seen[part] for part in ("train", "val")
    }
    write(tmp_path / "data", range(20, 24))
    resumed = Recorder()
    trainer(tmp_path, 2).fit(resumed, MODULES[name](tmp_path / "data", 5), ckpt_path=checkpoint)
    assert resumed.seen == first.seen
    assert json.loads(file.read_text()) == written
    tested = Recorder()
    trainer(tmp_path, 1).test(tested, MODULES[name](tmp_path / "data", 5), ckpt_path=checkpoint, verbose=False)
    assert tested.seen["test"] == {Path(each).stem for each in written["test"]}
    assert not tested.seen["test"] & (first.seen["train"] | first.seen["val"])
    fresh, _ = fitted(MODULES[name](tmp_path / "data", 0), tmp_path / "fresh")
    assert fresh.seen["val"] != first.seen["val"]  # what another file does to the split of a new run


class RecordingTask(Recorder, BaseTask):
    """The same as a task of this package."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("loaded", [False, True])
def test_a_task_is_tested_on_the_split_that_it_was_trained_on(name, loaded, tmp_path):
    write(tmp_path / "data", range(20))
    task, run = RecordingTask(), trainer(tmp_path, 1)
    run.fit(task, MODULES[name](tmp_path / "data", 0))
    run.save_checkpoint(tmp_path / "last.ckpt")
    trained = task.seen["train"] | task.seen["val"]
    tested = RecordingTask.load_from_checkpoint(tmp_path / "last.ckpt") if loaded else task
    write(tmp_path / "data", range(20, 24))
    trainer(tmp_path, 1).test(tested, MODULES[name](tmp_path / "data", 5), verbose=False)
    assert tested.seen["test"] == {str(number) for number in range(20)} - trained


class Early(BaseDataModule):
    """Divides its files in the constructor, where there is no checkpoint."""

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(1, 1, 0, seed)
        self.root = root
        self.divide()

    def divide(self) -> None:
        names = sorted(path.name for path in self.root.glob("images/*.png"))
        self.names = self.random_split.divide(names, self.root, "images")

    def make_dataset(self, split: str) -> list[dict]:
        return [{"path": name} for name in self.names["test" if split == "predict" else split]]


class Found(Early):
    """Divides them again when the checkpoint is known."""

    def find_data(self) -> None:
        self.divide()


class More(Found):
    """Only has another name."""


def test_a_split_that_is_made_before_the_checkpoint_is_known_is_refused(tmp_path):
    write(tmp_path / "data", range(20))
    _, checkpoint = fitted(Early(tmp_path / "data", 0), tmp_path)
    write(tmp_path / "data", range(20, 24))
    run = trainer(tmp_path, 1)
    with pytest.raises(ValueError, match="Early divides its files before it has the split of the checkpoint"):
        run.test(Recorder(), Early(tmp_path / "data", 0), ckpt_path=checkpoint, verbose=False)


@pytest.mark.parametrize(("kind", "kept"), [(Found, True), (More, True), (Early, False)])
def test_data_modules_of_other_classes_keep_the_split_or_say_so(tmp_path, caplog, kind, kept):
    write(tmp_path / "data", range(20))
    task = RecordingTask()
    with caplog.at_level("INFO"):
        trainer(tmp_path, 1).fit(task, Found(tmp_path / "data", 0))
        trained = task.seen["train"] | task.seen["val"]
        trainer(tmp_path, 1).test(task, kind(tmp_path / "data", 7), verbose=False)
    assert (task.seen["test"] == {str(number) for number in range(20)} - trained) is kept
    said = "trained with the data module Found: Early does not keep its split" in caplog.text
    assert said is not kept


@pytest.mark.parametrize(("seed", "added", "said"), [(0, 0, False), (0, 4, True), (7, 0, True)])
def test_further_training_with_another_split_names_what_was_trained_on(tmp_path, caplog, seed, added, said):
    """Its validation and its test would be on images that the weights know."""
    write(tmp_path / "data", range(20))
    task = RecordingTask()
    trainer(tmp_path, 1).fit(task, Found(tmp_path / "data", 0))
    trained, task.seen = task.seen["train"], {"train": set(), "val": set(), "test": set()}
    write(tmp_path / "data", range(20, 20 + added))
    with caplog.at_level("INFO"):
        trainer(tmp_path / "again", 1).fit(task, Found(tmp_path / "data", seed))
    known = len(task.seen["val"] & trained)
    assert ("The weights were trained before on" in caplog.text) is said
    if known:
        assert f"trained before on {known} of the 2 files of the validation split" in caplog.text


def test_other_files_are_divided_anew_with_a_warning(tmp_path):
    write(tmp_path / "data", range(20))
    write(tmp_path / "fewer", range(10))
    task = RecordingTask()
    trainer(tmp_path, 1).fit(task, MODULES["segmentation"](tmp_path / "data", 0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(tmp_path, 1).test(task, MODULES["segmentation"](tmp_path / "fewer", 0), verbose=False)
    assert any("fewer/images lacks 10 of the 20 images that the network" in str(each.message) for each in caught)
    assert len(task.seen["test"]) == 1


@pytest.mark.parametrize("name", MODULES)
def test_a_test_without_a_file_of_the_split_is_refused(name, tmp_path):
    write(tmp_path / "data", range(20))
    _, checkpoint = fitted(MODULES[name](tmp_path / "data", 0), tmp_path)
    gone = Path(json.loads((tmp_path / "run" / "split.json").read_text())["train"][0]).stem
    for folder, suffix in (("images", "png"), ("masks", "png"), ("Annotations", "xml")):
        (tmp_path / "data" / folder / f"{gone}.{suffix}").unlink()
    write_coco(tmp_path / "data")
    with pytest.raises(ValueError, match=f"lacks 1 of the 20 .*: {gone}"):
        trainer(tmp_path, 1).test(Recorder(), MODULES[name](tmp_path / "data", 0), ckpt_path=checkpoint, verbose=False)


@pytest.mark.parametrize("name", MODULES)
def test_data_that_were_moved_keep_the_split(name, tmp_path):
    write(tmp_path / "data", range(20))
    _, checkpoint = fitted(MODULES[name](tmp_path / "data", 0), tmp_path)
    shutil.move(tmp_path / "data", tmp_path / "moved")
    tested = Recorder()
    trainer(tmp_path, 1).test(tested, MODULES[name](tmp_path / "moved", 9), ckpt_path=checkpoint, verbose=False)
    assert tested.seen["test"] == {
        Path(each).stem for each in json.loads((tmp_path / "run" / "split.json").read_text())["test"]
    }


def test_data_that_come_divided_have_no_split_file(tmp_path):
    for split in ("train", "val"):
        write(tmp_path / "data" / split, range(4))
    data = MaskFolderDataModule(str(tmp_path / "data"), 2, batch_size=2, num_workers=0)
    _, checkpoint = fitted(data, tmp_path)
    assert data.state_dict() == {}
    assert not (tmp_path / "run" / "split.json").exists()
    assert "MaskFolderDataModule" not in torch.load(checkpoint, weights_only=True)
