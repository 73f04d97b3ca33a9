"""Functions that time CoordConv2d, nn.Conv2d and alternatives (one defined here) on a GPU: eager, CUDA graph, compiled.

The shapes of :mod:`benchmarks.shapes` are so small for a card that launching kernels takes most of the time. ``LARGE``
keeps a card busy.
"""

import itertools
import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.gpu.parts import NotPossibleError, Row, Setting
from benchmarks.layer import DTYPES, LAYOUTS, Case, inference_step, training_step
from benchmarks.measure import Step, compare
from benchmarks.shapes import SHAPES, Shape
from lightning_coordconv.layers import fold_coordconv

LARGE = [
    Shape(256, 64, 56, 56, 64, 3, 1),
    Shape(256, 3, 224, 224, 64, 7, 2),
    Shape(256, 256, 28, 28, 256, 1, 1),
    Shape(512, 4, 84, 84, 32, 8, 4),
]
TINY = [Shape(2, 3, 8, 8, 4, 3, 1)]
TASKS = ("train", "infer")


class KeptGridConv2d(nn.Module):
    """A convolution of the input, plus one of a coordinate grid that is computed once and kept."""

    grid: Tensor

    def __init__(self, conv: nn.Conv2d, x: Tensor) -> None:
        super().__init__()
        self.conv = conv
        self.coord_weight = nn.Parameter(torch.randn_like(conv.weight[:, :1].expand(-1, 2, -1, -1)))
        axes = [torch.linspace(-1, 1, size, device=x.device, dtype=x.dtype) for size in x.shape[-2:]]
        self.register_buffer("grid", torch.stack(torch.meshgrid(*axes, indexing="ij"))[None])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out_channels, H', W')."""
        stride, padding = self.conv.stride, self.conv.padding
        return self.conv(x) + F.conv2d(self.grid, self.coord_weight, None, stride, padding)


def eager(setting: Setting) -> Iterator[Row]:
    """Measure all shapes in both types and layouts."""
    shapes = TINY if setting.small else [*SHAPES, *LARGE]
    kinds = list(zip(DTYPES, LAYOUTS, strict=True)) if setting.small else list(itertools.product(DTYPES, LAYOUTS))
    for shape, (dtype, layout), task in itertools.product(shapes, kinds, TASKS):
        yield from measure(Case(shape, dtype, layout, False, setting.device), task, "eager")


def graph(setting: Setting) -> Iterator[Row]:
    """Measure the small shapes in CUDA graphs, which launch all kernels of a step at once."""
    if setting.device.type != "cuda":
        raise NotPossibleError("a CPU has no CUDA graphs")
    for shape, (dtype, layout), task in itertools.product(SHAPES, zip(DTYPES, LAYOUTS, strict=True), TASKS):
        yield from measure(Case(shape, dtype, layout, False, setting.device), task, "graph")


def compiled(setting: Setting) -> Iterator[Row]:
    """Measure a small and a large shape as torch.compile makes them: a layer takes seconds to compile."""
    shapes = TINY if setting.small else [SHAPES[2], LARGE[0]]
    for shape, (dtype, layout), task in itertools.product(shapes, zip(DTYPES, LAYOUTS, strict=True), TASKS):
        yield from measure(Case(shape, dtype, layout, True, setting.device), task, "compiled")


def measure(case: Case, task: str, mode: str) -> list[Row]:
    """Measure all layers of one case, and return a row for each."""
    torch.compiler.reset()
    x = case.input().requires_grad_(task == "train")
    layers = {kind: case.layer(kind) for kind in ("plain", "coordconv", "concat")}
    if not case.compiled:
        plain: Any = case.layer("plain")
        layers["kept grid"] = KeptGridConv2d(plain, x).to(memory_format=LAYOUTS[case.layout])
    if task == "infer":
        layers["folded"] = fold_coordconv(layers["coordconv"].eval(), x)
    with torch.no_grad():
        gradient = case.tensor(layers["plain"](x).shape)
    if case.compiled:
        for layer in layers.values():  # on a CPU the backend that only traces: inductor's C++ compiler takes minutes
            backend = "inductor" if case.device.type == "cuda" else "eager"
            layer.compile(fullgraph=True, dynamic=False, backend=backend)
    steps: dict[str, Step] = {}
    for kind, layer in layers.items():
        step = training_step(layer, x, gradient) if task == "train" else inference_step(layer.eval(), x)
        steps[kind] = captured(step) if mode == "graph" else step
    steps = {"plain": steps["plain"], "plain again": steps["plain"]} | steps
    timings = compare(steps, case.device, 0.3, random.Random(0))
    bound = "card" if case.shape in LARGE else "launches"
    about = {"mode": mode, "task": task, "bound": bound, "shape": str(case.shape)}
    about |= {"dtype": case.dtype, "layout": case.layout}
    return [about | {"layer": kind} | timing._asdict() for kind, timing in timings.items()]


def captured(step: Step) -> Step:
    """Return a function that replays a step from a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what is set up at first use must not be captured
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        step()
    return recorded.replay
