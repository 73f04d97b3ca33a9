"""Fixtures for tests of commands: trained checkpoints, folders of runs, and a fake for the fits of ``sweep``."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from lightning_coordconv.classification import ImageClassification, PooledClassifier
from lightning_coordconv.runtime.sweep import jobs
from tests.core.test_checkpoints import trained
from tests.runtime.compared_runs import write_summary
from tests.runtime.exports import NAMES, PREPARED, save, shaken
from tests.runtime.runs import RUN
from tests.runtime.sweeps import LR

__all__ = ["trained"]


@pytest.fixture
def fits(tmp_path, monkeypatch):
    """Replace the processes of fit: the distance is the squared distance of log10(lr) from -2, and the seed."""
    monkeypatch.chdir(tmp_path)
    made = []

    def fit(config, seed, threads, options, output):
        made.append((config, seed))
        given = dict(option.removeprefix("--").split("=", 1) for option in options)
        folder = output.parent
        folder.mkdir(parents=True, exist_ok=True)
        output.write_text("started\nit ends here\n")
        if given.get("fail") == str(seed):
            return 3
        value = (np.log10(float(given.get(LR, 1e-3))) + 2) ** 2 + seed
        row = {"step": 1, "val/distance": value, "val/accuracy": -value}
        summary = {"experiment": config, "seed": seed, "curve": [row, row | {"step": 2, "val/distance": value + 1}]}
        test = {} if given.get("trainer.limit_test_batches") == "0" else {"test/distance": value}
        (folder / "summary.json").write_text(json.dumps(summary | {"test": test}))
        (folder / "config.yaml").write_text(yaml.safe_dump({"seed_everything": seed, "lr": given.get(LR, 1e-3)}))
        return 0

    monkeypatch.setattr(jobs, "fit", fit)
    return made


@pytest.fixture
def copied(trained, tmp_path, monkeypatch) -> Path:
    """Copy the folder of a run into the working folder, and return it."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(trained.parents[1], RUN / "version_0")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = shaken(PooledClassifier(4, coordinates=True, channels=3))
    path = tmp_path_factory.mktemp("classifier") / "last.ckpt"
    return save(ImageClassification(net), path, class_names=NAMES, preprocessing=PREPARED)


@pytest.fixture
def logs(tmp_path):
    """Two arms of three seeds; the second is better by 0.2, and has one seed that the first lacks."""
    for k, (seed, accuracy) in enumerate([(0, 0.5), (1, 0.6), (2, 0.4)]):
        write_summary(tmp_path / "logs" / "a" / f"version_{k}", "a", seed, accuracy, lr=0.1)
        write_summary(tmp_path / "logs" / "b" / f"version_{k}", "b", seed + 1, accuracy + 0.2, lr=0.2)
    return tmp_path / "logs"
