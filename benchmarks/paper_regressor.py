"""Trains the paper's regressor over many seeds, with a fast forward pass: ``python -m benchmarks.paper_regressor``.

It trains :class:`~lightning_coordconv.coordinates.CoordConvRegressor` with the recipe of the experiments
``coordinates/regression_*_coordconv_paper``, over many seeds. Training the network directly takes minutes a seed on one
core. But the network has no activation, so before its max pool it is affine in the image: its output for an image with
a single 1 is that for the blank image, plus a response of 5x5 pixels around the 1. The maximum is therefore that of the
unchanged background and of 25 values. :func:`shortcut` computes only these; ``tests/benchmarks`` compares it, and its
gradients, with the network.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_coordconv.coordinates import CoordConvRegressor, CoordinateRegression, NotSoClevr

RESULTS = Path(__file__).parent / "results" / "paper_regressor.json"
REACH = 2  # pixels that two 3x3 convolutions see in each direction
SOLVED = 0.5  # pixels


def shortcut(net: CoordConvRegressor, xy: Tensor, canvas: int = 64) -> Tensor:
    """Return the network's outputs for images with a single 1.

    Args:
        net: the network.
        xy: (x, y) of each 1, int64 (B, 2), at least ``REACH`` pixels from the border.
        canvas: height and width of the images.

    Returns:
        Positions (B, 2), equal to the network's.
    """
    maps = nn.Sequential(*(layer for layer in net if isinstance(layer, nn.Conv2d)))
    images = torch.zeros(2, 1, canvas, canvas)  # a blank one, and one with a dot in the middle
    images[1, 0, canvas // 2, canvas // 2] = 1
    blank, dotted = maps(images)
    background = blank.flatten(1)  # (2, canvas^2)
    near = slice(canvas // 2 - REACH, canvas // 2 + REACH + 1)
    response = (dotted - blank)[:, near, near].flatten(1)  # (2, 25)

    # the largest values of the background: one of 26 lies outside any 5x5
    value, place = background.topk(response.shape[1] + 1)
    x, y = xy[:, 0, None, None], xy[:, 1, None, None]
    touched = ((place % canvas - x).abs() <= REACH) & ((place // canvas - y).abs() <= REACH)
    outside = value.masked_fill(touched, -torch.inf).amax(2)  # (B, 2)

    steps = torch.arange(-REACH, REACH + 1)
    window = canvas * steps[:, None] + steps
    places = (canvas * xy[:, 1] + xy[:, 0])[:, None] + window.flatten()
    inside = (background[:, places] + response[:, None]).amax(2).T
    return torch.maximum(outside, inside)


def train(partition: str, seed: int, epochs: int = 100) -> dict[str, float | int | str | None]:
    """Train one seed with the authors' recipe; return its errors in pixels."""
    torch.manual_seed(seed)
    net = CoordConvRegressor()
    data = {split: NotSoClevr(split, partition).xy for split in ("train", "test")}  # type: ignore[arg-type]
    task = CoordinateRegression(net, partial(torch.optim.Adam, lr=0.01, betas=(0.9, 0.99), weight_decay=2e-5))
    optimizer = task.configure_optimizers()

    def error(split: str) -> float:
        with torch.no_grad():
            return (64 * shortcut(net, data[split]) - data[split]).norm(dim=1).mean().item()

    first = None
    for epoch in range(1, epochs + 1):
        for batch in data["train"][torch.randperm(len(data["train"]))].split(256):
            loss = F.mse_loss(shortcut(net, batch), batch / 64)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if first is None and error("test") < SOLVED:
            first = epoch
    return {
        "partition": partition,
        "seed": seed,
        "train": round(error("train"), 3),
        "test": round(error("test"), 3),
        "first_below_half_a_pixel": first,
    }


def main() -> None:
    """Train every seed on both partitions and write the errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    runs = []
    for partition in ("uniform", "quadrant"):
        for seed in range(parser.parse_args().seeds):
            runs.append(train(partition, seed))
            print(runs[-1], flush=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(run) for run in runs) + "\n]\n")


if __name__ == "__main__":
    main()
