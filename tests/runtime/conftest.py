"""Fixture that replaces the runs of the command ``sweep`` by a function that writes their results at once."""

import json

import numpy as np
import pytest
import yaml

from lightning_coordconv.runtime.sweep import jobs
from tests.runtime.sweeps import LR


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
