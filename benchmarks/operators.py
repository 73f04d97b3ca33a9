"""Lists the slowest operators of a training step of Conv2d and CoordConv2d: ``python -m benchmarks.operators INDEX``.

The index is that of a shape in :mod:`benchmarks.shapes`. For the plain convolution and for CoordConv it prints the
operators, their own CPU time a step, and how often each is called.
"""

import argparse

import torch
from torch import nn
from torch.profiler import profile

from benchmarks.shapes import SHAPES
from lightning_coordconv.layers import CoordConv2d

STEPS = 200


def operators(layer: nn.Conv2d, x: torch.Tensor) -> list[tuple[str, float, float]]:
    """Return name, microseconds and calls a training step of the operators that take longest."""
    gradient = torch.randn_like(layer(x))

    def step() -> None:
        x.grad = None
        layer.zero_grad()
        layer(x).backward(gradient)

    for _ in range(20):
        step()
    with profile() as profiler:
        for _ in range(STEPS):
            step()
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    return [(event.key, event.self_cpu_time_total / STEPS, event.count / STEPS) for event in events]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=int)
    parser.add_argument("--top", type=int, default=8)
    arguments = parser.parse_args()
    shape = SHAPES[arguments.index]
    batch, channels, height, width, out, kernel, stride = shape
    x = torch.randn(batch, channels, height, width, requires_grad=True)
    for layer in (nn.Conv2d, CoordConv2d):
        found = operators(layer(channels, out, kernel, stride), x)
        total = sum(time for _, time, _ in found)
        print(f"{layer.__name__} {shape}: {total:.0f} microseconds a step in operators")
        for name, time, calls in found[: arguments.top]:
            print(f"  {time:8.1f}  {calls:4.1f} x {name[:60]}")


if __name__ == "__main__":
    main()
