"""Class of a config in ``configs/position``, which builds its data module and LightningModule, and a table of all."""

import pydoc
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from benchmarks.position.arms import ARMS
from benchmarks.position.task import PositionTask
from lightning_coordconv.core import BaseDataModule
from lightning_coordconv.runtime.classes import build_data

FOLDER = Path(__file__).parents[2] / "configs" / "position"


@dataclass(frozen=True)
class TaskConfig:
    """What the benchmark reads in a config of ``lightning-coordconv fit``.

    Attributes:
        title: what the task is about: the first line.
        arms: names of the arms that the benchmark runs: the comment that begins with "Arms".
        steps: optimiser steps of each run.
        model: class and arguments of the task.
        data: class and arguments of its data module.
    """

    title: str
    arms: tuple[str, ...]
    steps: int
    model: dict[str, Any]
    data: dict[str, Any]

    @property
    def kind(self) -> type[PositionTask]:
        """The class of the task."""
        found: Any = pydoc.locate(self.model["class_path"])
        return found

    @property
    def metric(self) -> str:
        """Name of the metric that the task is judged by, without its stage."""
        return self.kind.monitor.removeprefix("val/")

    def make_data(self, seed: int) -> BaseDataModule:
        """Build the data module."""
        return build_data({"data": self.data, "seed_everything": seed})

    def make_module(self, arm: str) -> PositionTask:
        """Build the task with the network of an arm."""
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(PositionTask, "model", required=True)
        arguments = {**self.model["init_args"], "arm": arm}
        config = parser.parse_object({"model": {**self.model, "init_args": arguments}})
        module: PositionTask = parser.instantiate_classes(config).model
        return module


def read(path: Path) -> TaskConfig:
    """Read a config of the benchmark."""
    text = path.read_text()
    title, *comments = re.findall(r"^# (.*)$", text, re.MULTILINE)
    words = re.findall(r"\w+", " ".join(comments).partition("Arms")[2])
    content = yaml.safe_load(text)
    return TaskConfig(
        title.removesuffix("."),
        tuple(word for word in words if word in ARMS),
        content["trainer"]["max_steps"],
        content["model"],
        content["data"],
    )


TASKS = {path.stem: read(path) for path in sorted(FOLDER.glob("*.yaml"))}
"""By name."""
