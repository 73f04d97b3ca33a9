"""Functions for tests that write checkpoints to export, run exported files, and expect the command to refuse."""

import re
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import nn

from lightning_coordconv import coordconv_layers
from lightning_coordconv.runtime.cli import main
from tests.classification.test_task import quiet

NAMES = ["a", "b", "c", "d"]
PREPARED = {"channels": 3, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}


def shaken(net: nn.Module) -> nn.Module:
    """Give coordinates weights that matter."""
    for layer in coordconv_layers(net).values():
        nn.init.normal_(layer.coord_weight)
    return net.eval()


def save(task, path: Path, **inference) -> Path:
    """Write a checkpoint as a run of the task would."""
    task.inference = inference
    run = quiet(path.parent)
    run.strategy.connect(task)
    run.save_checkpoint(path)
    return path


def run(path: Path, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """Run a file without the package's own code."""
    if path.suffix == ".pt2":
        found = torch.export.load(path).module()(*inputs)
        return list(found) if isinstance(found, tuple) else [found]
    session = onnxruntime.InferenceSession(path)
    names = [entry.name for entry in session.get_inputs()]
    return [
        torch.from_numpy(array)
        for array in session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})
    ]


def assert_refused(capsys, arguments: list[object], message: str) -> None:
    """Show that the command ends with one line, and writes nothing."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["export", *map(str, arguments)])
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("The checkpoint ")]
    assert len(lines) == 1, lines
    assert re.match(f"error: .*{message}", lines[0]), lines[0]
    if len(arguments) > 1:
        assert not Path(arguments[1]).is_file()
        assert not list(Path(arguments[1]).parent.glob(".unfinished-*"))
