"""Measures speed, memory and operator counts of CoordConv2d beside nn.Conv2d: ``python -m benchmarks.layer``.

All layers of one case run in the same process, in rounds, in an order shuffled each round, and are compared to the
``nn.Conv2d`` of the same round. The row ``plain again`` is that very layer once more: its spread is the noise.

- A training step is forward and backward with a given gradient of the output, down to the gradients of all parameters
  and of the input, as in the middle of a network. No loss, no optimiser.
- Inference is the forward pass in ``eval()`` under ``torch.no_grad()``. ``folded`` is what ``fold_coordconv`` makes.
- Peak memory is that of a training step: input, output gradient and parameters, and the most that was allocated on top
  of them during the first two steps of a new layer.
- The tiny map, 2 x 8 x 8 x 8 to 8 channels, shows what no large map does: operators dispatched, and the time of Python
  and dispatch. It is a proxy for a device that waits for launches, and is timed on one thread, in several processes.

Kernels of 3 and 7 are padded by half, those of 1 and 8 (Atari's first layer) not at all. In bf16 the parameters are
bf16 too. Compiled layers are timed in fp32 and NCHW only, unless options say otherwise: compiling takes longest.
"""

import argparse
import itertools
import json
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.measure import Step, compare, environment, peak_bytes
from benchmarks.shapes import ONE_CHANNEL, QUICK, SHAPES, TINY, Shape
from lightning_coordconv.layers import CoordConv2d, fold_coordconv

TINY_PROCESSES = 7
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
Row = dict[str, Any]


class ConcatConv2d(nn.Module):
    """CoordConv by its definition: concatenate the scaled coordinates to the input, and convolve that."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels + 2, out_channels, kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H', W')``."""
        batch, _, height, width = x.shape
        rows = torch.linspace(-1, 1, height, device=x.device, dtype=x.dtype).view(1, 1, height, 1)
        columns = torch.linspace(-1, 1, width, device=x.device, dtype=x.dtype).view(1, 1, 1, width)
        coords = [axis.expand(batch, 1, height, width) for axis in (rows, columns)]
        out: Tensor = self.conv(torch.cat((x, *coords), dim=1))
        return out


LAYERS: dict[str, Callable[..., nn.Module]] = {
    "plain": nn.Conv2d,
    "coordconv": CoordConv2d,
    "concat": ConcatConv2d,
}


class CountOperators(TorchDispatchMode):
    """Counts the operators that reach the dispatcher."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


class Case(NamedTuple):
    """A shape, and how it is computed."""

    shape: Shape
    dtype: str
    layout: str
    compiled: bool
    device: torch.device

    def layer(self, kind: str) -> nn.Module:
        """Make a new layer."""
        shape = self.shape
        padding = shape.kernel // 2 if shape.kernel in (3, 7) else 0
        layer = LAYERS[kind](shape.in_channels, shape.out_channels, shape.kernel, shape.stride, padding)
        return layer.to(self.device, DTYPES[self.dtype]).to(memory_format=LAYOUTS[self.layout])

    def tensor(self, size: Sequence[int]) -> Tensor:
        """Make a random tensor."""
        return torch.randn(*size, device=self.device, dtype=DTYPES[self.dtype]).to(memory_format=LAYOUTS[self.layout])

    def input(self) -> Tensor:
        """Make an input."""
        return self.tensor((self.shape.batch, self.shape.in_channels, self.shape.height, self.shape.width))


def training_step(layer: nn.Module, x: Tensor, gradient: Tensor) -> Step:
    """Return a function that runs forward and backward."""
    leaves = [x, *layer.parameters()]

    def step() -> None:
        for leaf in leaves:
            leaf.grad = None
        layer(x).backward(gradient)

    return step


def inference_step(layer: nn.Module, x: Tensor) -> Step:
    """Return a function that runs forward without gradients."""

    def step() -> None:
        with torch.no_grad():
            layer(x)

    return step


def measure(case: Case, task: str, seconds: float, generator: random.Random) -> list[Row]:
    """Measure one case of one task (train or infer), and return a row for each layer."""
    if case.compiled:
        torch.compiler.reset()
    x = case.input().requires_grad_(task == "train")
    layers = {kind: case.layer(kind) for kind in LAYERS}
    memory: dict[str, int] = {}
    if task == "train":
        with torch.no_grad():
            gradient = case.tensor(layers["plain"](x).shape)
        if not case.compiled:
            memory = {kind: peak_of_training(case, kind, x, gradient) for kind in layers}
    else:
        layers = {kind: layer.eval() for kind, layer in layers.items()}
        layers["folded"] = fold_coordconv(layers["coordconv"], x)
    if case.compiled:
        for layer in layers.values():
            layer.compile(fullgraph=True, dynamic=False)
    steps = {
        kind: training_step(layer, x, gradient) if task == "train" else inference_step(layer, x)
        for kind, layer in layers.items()
    }
    steps = {"plain": steps["plain"], "plain again": steps["plain"]} | steps
    rows = []
    for kind, timing in compare(steps, case.device, seconds, generator).items():
        row: Row = {"mode": "compiled" if case.compiled else "eager", "task": task, "dtype": case.dtype}
        row |= {"layout": case.layout, "shape": str(case.shape), "layer": kind} | timing._asdict()
        if counts_operators(case, task):
            with CountOperators() as operators:
                steps[kind]()
            row["operators"] = operators.count
        if kind in memory:
            row |= {"peak_bytes": memory[kind], "peak_ratio": memory[kind] / memory["plain"]}
        rows.append(row)
    return rows


def counts_operators(case: Case, task: str) -> bool:
    """Return whether the operators of a case are counted: eager training of the tiny map."""
    return case.shape == TINY and task == "train" and not case.compiled


def rows_of_tiny(device: torch.device, seconds: float, seed: int) -> list[Row]:
    """Measure training and inference of the tiny map on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    case, generator = Case(TINY, "fp32", "nchw", False, device), random.Random(seed)
    return [row | {"threads": 1} for task in ("train", "infer") for row in measure(case, task, seconds, generator)]


def measure_tiny(device: torch.device, seconds: float, processes: int) -> list[Row]:
    """Measure the tiny map in new processes, one after the other, and print and return the process in the middle.

    The ratio differs more between processes, which place code and tensors elsewhere, than within one.

    Args:
        device: to measure on.
        seconds: to measure each task for, in each process.
        processes: how many.

    Returns:
        For each task and layer the row with the median ratio; ``low`` and ``high`` are the least and the greatest.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        runs = [*pool.map(rows_of_tiny, itertools.repeat(device), itertools.repeat(seconds), range(processes))]
    rows = []
    for same in zip(*runs, strict=True):
        ordered = sorted(same, key=lambda row: row["ratio"])
        ends = {"low": ordered[0]["ratio"], "high": ordered[-1]["ratio"]}
        rows.append(ordered[processes // 2] | ends | {"processes": processes})
    print(f"tiny map {TINY}, one thread, processes: {processes}: microseconds, times plain (all), operators")
    for row in rows:
        line = f"  {row['task']:6}{row['layer']:12}{row['milliseconds'] * 1e3:8.1f}{row['ratio']:8.3f}"
        print(f"{line} ({row['low']:.3f}-{row['high']:.3f}){row.get('operators', ''):>5}")
    print(flush=True)
    return rows


def peak_of_training(case: Case, kind: str, x: Tensor, gradient: Tensor) -> int:
    """Return the peak memory of a training step of a new layer."""
    layer = case.layer(kind)
    given = sum(tensor.nbytes for tensor in (x, gradient, *layer.parameters()))
    x.grad = None
    step = training_step(layer, x, gradient)

    def two_steps() -> None:
        step()
        step()

    return given + peak_bytes(two_steps, case.device)


def table(rows: list[Row]) -> str:
    """Lay rows of one mode, task, dtype and layout out as a table: a line a shape, a column a layer."""
    kinds = list(dict.fromkeys(row["layer"] for row in rows if row["layer"] != "plain"))
    memory = [kind for kind in kinds if any("peak_ratio" in row for row in rows if row["layer"] == kind)]
    first = rows[0]
    title = f"{first['mode']}, {first['task']}, {first['dtype']}, {first['layout']}: times plain, median (quartiles)"
    lines = [title, f"{'shape':24}{'plain':>10}" + "".join(f"{kind:>20}" for kind in kinds)]
    lines[-1] += "".join(f"{kind + ' memory':>18}" for kind in memory)
    by_key = {(row["shape"], row["layer"]): row for row in rows}
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    for shape in shapes:
        line = f"{shape:24}{by_key[shape, 'plain']['milliseconds']:>7.2f} ms"
        for kind in kinds:
            row = by_key[shape, kind]
            line += f"{row['ratio']:>8.3f} ({row['low']:.2f}-{row['high']:.2f})"
        lines.append(line + "".join(f"{by_key[shape, kind]['peak_ratio']:>18.3f}" for kind in memory))
    groups = {"geometric mean": shapes, "without one channel": [shape for shape in shapes if shape != str(ONE_CHANNEL)]}
    for name, group in groups.items():
        if not group:
            continue
        means = [statistics.geometric_mean(by_key[shape, kind]["ratio"] for shape in group) for kind in kinds]
        peaks = [statistics.geometric_mean(by_key[shape, kind]["peak_ratio"] for shape in group) for kind in memory]
        line = f"{name:34}" + "".join(f"{mean:>8.3f}            " for mean in means)
        lines.append(line + "".join(f"{peak:>18.3f}" for peak in peaks))
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three shapes, eager, fp32, NCHW: half a minute")
    parser.add_argument("--shapes", nargs="+", type=int, metavar="INDEX", help="which shapes, from 0 (default: all)")
    parser.add_argument("--tasks", nargs="+", choices=["train", "infer"], default=["train", "infer"])
    parser.add_argument("--modes", nargs="+", choices=["eager", "compiled"], default=["eager", "compiled"])
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), help="default: both, fp32 if compiled")
    parser.add_argument("--layouts", nargs="+", choices=list(LAYOUTS), help="default: both, nchw if compiled")
    parser.add_argument("--seconds", type=float, help="to measure each case for (default: 2, with --quick 0.5)")
    parser.add_argument("--threads", type=int, default=2, help="of the CPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/layer-DEVICE.json, none with --quick")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything that was asked for, print the tables and write the rows."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device, generator = torch.device(options.device), random.Random(0)
    shapes = [SHAPES[index] for index in options.shapes] if options.shapes else QUICK if options.quick else SHAPES
    seconds = options.seconds or (0.5 if options.quick else 2)
    rows = measure_tiny(device, seconds, 1 if options.quick else TINY_PROCESSES)
    for mode in ["eager"] if options.quick else options.modes:
        narrow = options.quick or mode == "compiled"
        dtypes = options.dtypes or (["fp32"] if narrow else list(DTYPES))
        layouts = options.layouts or (["nchw"] if narrow else list(LAYOUTS))
        for dtype, layout, task in itertools.product(dtypes, layouts, options.tasks):
            group: list[Row] = []
            for shape in shapes:
                group += measure(Case(shape, dtype, layout, mode == "compiled", device), task, seconds, generator)
            print(table(group), end="\n\n", flush=True)
            rows += group
    output = options.output
    if output is None and not options.quick:
        output = Path("benchmarks", "results", f"layer-{device.type}.json")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({"environment": environment(device), "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
