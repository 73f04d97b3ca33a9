"""Table of the parts of the GPU benchmark (time limit, function), and classes of a part and of its settings."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

import torch

Row = dict[str, Any]


class Setting(NamedTuple):
    """Where a part measures."""

    device: torch.device
    small: bool  # tiny sizes, a few steps: shows that the part runs
    names: tuple[str, ...] = ()  # which experiments to run, where a part runs some by name; all if empty

    @property
    def accelerator(self) -> str:
        """Lightning's name of the device."""
        return "gpu" if self.device.type == "cuda" else "cpu"


class NotPossibleError(Exception):
    """A part cannot run on this machine; the message gives the reason."""


class Part(NamedTuple):
    """A part's time limit on a GPU in seconds, and the function that yields its rows, as ``module:function``."""

    limit: int
    function: str

    def rows(self, setting: Setting) -> Iterator[Row]:
        """Measure, and yield rows as they are ready."""
        module, function = self.function.split(":")
        measure: Callable[[Setting], Iterator[Row]] = getattr(import_module(f"benchmarks.gpu.{module}"), function)
        return measure(setting)


PARTS = {
    "layer_eager": Part(90, "layer:eager"),
    "layer_graph": Part(45, "layer:graph"),
    "layer_compiled": Part(100, "layer:compiled"),
    "training": Part(60, "training:recipes"),
    "gan": Part(30, "training:gans"),
    "coordinates": Part(65, "coordinates:experiments"),
    "agents": Part(60, "agents:rates"),
    "ranks": Part(30, "ranks:runs"),
}
"""Parts of a run; their limits add up to eight minutes on a GPU."""
SMOKE = {"smoke": Part(3600, "smoke:configs")}
