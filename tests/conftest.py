"""Fixtures and hooks for all tests: seeds, an in-process command line, and folders of images, masks and annotations."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import settings

# The process that hands out the tests imports this file too: what takes seconds to import is imported by the fixtures.

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)  # torch.manual_seed formats the stack where there is no card: 1 ms a call
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(0)


def pytest_collectstart() -> None:
    """Seed the global generators before a module is imported: its constants and parameters are the same in each run."""
    _seed()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed the global generators before the fixtures of a test, and give the test one thread."""
    _seed()
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _forget_environments() -> Iterator[None]:
    """Remove the environments that a test registers under ``tests/``: another test may register the same name."""
    before = set(gym.registry)
    yield
    for name in [name for name in gym.registry if name.startswith("tests/") and name not in before]:
        del gym.registry[name]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Run the command line in process, in an empty folder, and return that folder."""
    from lightning_coordconv.runtime.cli import main

    monkeypatch.setattr("sys.argv", ["lightning-coordconv"])
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Path:
        main([str(arg) for arg in args])
        return tmp_path

    return run


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of noise images, ``{train,val}/{a,b}/{0,1}.png``."""
    from tests.photographs import noise

    root = tmp_path_factory.mktemp("images")
    files = [root / split / name / f"{i}.png" for split in ("train", "val") for name in "ab" for i in range(2)]
    for seed, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        noise((40, 30), seed=seed).save(file)
    return root


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three photographs with ``boxes.json``, in COCO's format."""
    from tests.photographs import write_photographs

    return write_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="session")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six photographs and their masks, of two sizes, with three classes."""
    from tests.segmentation.masks import write_masks

    return write_masks(tmp_path_factory.mktemp("masks"))


@pytest.fixture
def pictures(tmp_path: Path, image_folder: Path, photographs: Path, masks: Path) -> None:
    """Put ``images/``, ``photographs/``, ``masks/``, and ``pictures/`` with ``points.csv`` into the test's folder."""
    (tmp_path / "images").symlink_to(image_folder)
    (tmp_path / "photographs").symlink_to(photographs)
    (tmp_path / "masks").mkdir()
    for split in ("train", "val"):
        (tmp_path / "masks" / split).symlink_to(masks)
    (tmp_path / "pictures").mkdir()
    for number in range(20):  # so many that two ranks have a sample each to validate on
        shutil.copy(image_folder / "train" / "a" / "0.png", tmp_path / "pictures" / f"{number:04}.jpg")
    rows = [f"pictures/{number:04}.jpg,10,20.5\n" for number in range(20)]
    (tmp_path / "points.csv").write_text("image,x,y\n" + "".join(rows))
