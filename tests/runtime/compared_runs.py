"""Functions for tests that write the folders of runs, and run the command ``compare`` on them."""

import json

import pytest
import yaml

from lightning_coordconv.runtime.cli import main


def write_summary(folder, name, seed, accuracy, **options):
    folder.mkdir(parents=True)
    curve = [{"step": step, "seconds": 1.0, "val/accuracy": accuracy * step / 20} for step in (10, 20)]
    summary = {"experiment": name, "seed": seed, "weights": 7, "steps": 20, "curve": curve, "train": {},
               "test": {"test/accuracy": accuracy, "test/loss": 1 - accuracy}}  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    config = {"seed_everything": seed, "model": {"class_path": "A", "init_args": options}, "data": {"seed": seed}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def compare(*args):
    main(["compare", *map(str, args)])


def fails(capsys, *args):
    """Return the line in which a command ends."""
    with pytest.raises(SystemExit) as end:
        compare(*args)
    output = capsys.readouterr()
    assert end.value.code == 2
    assert output.out == ""
    (message,) = output.err.splitlines()
    assert message.startswith("error: ")
    return message


def write_csv(folder, value, hparams=None):
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(f"epoch,step,val_acc\n0,9,{value}\n")
    if hparams is not None:
        (folder / "hparams.yaml").write_text(yaml.safe_dump(hparams))
