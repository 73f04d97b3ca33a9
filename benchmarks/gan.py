"""Measures the speed of GAN iterations and generators beside plain torch code: ``python -m benchmarks.gan``.

- Iterations: :class:`~lightning_coordconv.generative.GAN` under Lightning's Trainer, logging and averaging, against a
  plain loop over copies of its networks that does the same. Between any two iterations of the one the other makes one,
  so that both see the same state of the machine. The plain loop is as one writes it: it generates images for the
  discriminator, and then again for the generator.
- Generators: forward and backward of the CoordConv generator, whose first layer folds the tiling of the latent vector,
  against the same network over the tiled vector and the coordinates, concatenated; in rounds, in shuffled order.
"""

import argparse
import copy
import json
import logging
import random
import statistics
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmarks.measure import Timing, compare, environment
from lightning_coordconv.generative import GAN, ConvDiscriminator, ConvGenerator, CoordConvGenerator, SortOfClevr
from lightning_coordconv.runtime.malloc import keep_freed_memory

RESULTS = Path(__file__).parent / "results"
ADAM = partial(torch.optim.Adam, lr=1e-4, betas=(0.0, 0.99))
SIZES: dict[str, dict[str, int]] = {
    "small": {"latent_size": 8, "canvas": 32, "width": 16, "batch": 16},
    "paper": {"latent_size": 256, "canvas": 64, "width": 64, "batch": 16},
}


class ConcatGenerator(nn.Module):
    """The network of a CoordConv generator, as the paper writes it down: tile, concatenate, convolve."""

    def __init__(self, generator: CoordConvGenerator) -> None:
        super().__init__()
        tiled: Any = generator[0]
        self.size = tiled.size
        self.first = nn.Conv2d(tiled.in_channels + 2, tiled.out_channels, 1)
        with torch.no_grad():
            self.first.weight.copy_(torch.cat([tiled.weight, tiled.coord_weight], dim=1))
            self.first.bias.copy_(tiled.bias)  # type: ignore[union-attr]
        self.rest = nn.Sequential(*copy.deepcopy(list(generator)[1:]))

    def forward(self, latent: Tensor) -> Tensor:
        """Map vectors (B, C) to images (B, 3, H, W) before tanh."""
        rows, columns = (torch.linspace(-1, 1, size) for size in self.size)
        coordinates = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(latent), -1, -1, -1)
        tiled = latent[:, :, None, None].expand(-1, -1, *self.size)
        image: Tensor = self.rest(self.first(torch.cat([tiled, coordinates], dim=1)))
        return image


class PlainLoop:
    """An iteration of a GAN without any framework: non-saturating loss, averaged weights."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, latent_size: int, generator_steps: int) -> None:
        self.networks = [copy.deepcopy(net).to(memory_format=torch.channels_last) for net in (generator, discriminator)]
        self.latent_size = latent_size
        self.generator_steps = generator_steps
        self.optimizers = [ADAM(net.parameters()) for net in self.networks]
        self.average = AveragedModel(self.networks[0], multi_avg_fn=get_ema_multi_avg_fn(0.999), use_buffers=True)

    def __call__(self, real: Tensor) -> None:
        """Train with one batch."""
        (generator, discriminator), (optimizer_g, optimizer_d) = self.networks, self.optimizers
        latent = torch.rand(len(real), self.latent_size) * 2 - 1
        with torch.no_grad():
            fake = torch.tanh(generator(latent))
        optimizer_d.zero_grad()
        (F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake)).mean()).backward()
        optimizer_d.step()
        discriminator.requires_grad_(False)
        for _ in range(self.generator_steps):
            optimizer_g.zero_grad()
            F.softplus(-discriminator(torch.tanh(generator(latent)))).mean().backward()
            optimizer_g.step()
        discriminator.requires_grad_(True)
        self.average.update_parameters(generator)


class Interleaved:
    """Batches for a Trainer; before each, the plain loop makes an iteration with it. Both are timed."""

    def __init__(self, batches: list[dict[str, Tensor]], plain: PlainLoop) -> None:
        self.batches = batches
        self.plain = plain
        self.seconds: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for batch in self.batches:
            start = time.perf_counter()
            self.plain(batch["image"])
            between = time.perf_counter()
            yield batch  # until the next batch is asked for, the Trainer makes an iteration
            self.seconds.append((between - start, time.perf_counter() - between))


def iterations(
    kind: str, size: dict[str, int], count: int, generator_steps: int, compile: bool = False
) -> dict[str, float]:
    """Return the median milliseconds of an iteration of either loop, and the median of their ratios."""
    coordinates = kind == "coordconv"
    build = CoordConvGenerator if coordinates else ConvGenerator
    generator = build(size["latent_size"], size["canvas"], size["width"])
    discriminator = ConvDiscriminator(size["canvas"], size["width"], coordinates)
    plain = PlainLoop(generator, discriminator, size["latent_size"], generator_steps)
    options: dict[str, Any] = {"generator_steps": generator_steps, "compile": compile}
    task = GAN(generator, discriminator, ADAM, ADAM, latent_size=size["latent_size"], **options)
    dataset = SortOfClevr("train", size["batch"], size["canvas"], 10 * size["canvas"] // 64)
    loader = Interleaved([dataset.__getitems__(list(range(size["batch"])))] * count, plain)
    Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, log_every_n_steps=10,
    ).fit(task, loader)  # fmt: skip
    timed = loader.seconds[count // 5 :]
    medians = [statistics.median(column) * 1e3 for column in zip(*timed, strict=True)]
    speed = statistics.median(theirs / ours for theirs, ours in timed)
    return {"plain_ms": medians[0], "task_ms": medians[1], "speed": speed}


def generators(size: dict[str, int], seconds: float) -> dict[str, Timing]:
    """Time forward and backward of both generators; ratios are to the folded one."""
    folded = CoordConvGenerator(size["latent_size"], size["canvas"], size["width"])
    naive = ConcatGenerator(folded)
    latent = torch.rand(size["batch"], size["latent_size"]) * 2 - 1

    def step(net: nn.Module) -> None:
        net.zero_grad()
        torch.tanh(net(latent)).sum().backward()

    nets = {
        "folded": folded.to(memory_format=torch.channels_last),
        "concatenated": naive,
        "concatenated, channels last": copy.deepcopy(naive).to(memory_format=torch.channels_last),
    }
    return compare(
        {name: partial(step, net) for name, net in nets.items()}, torch.device("cpu"), seconds, random.Random(0)
    )


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["generators", "iterations"], help="generators, iterations or both")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--batch", type=int, help="other than 16: an iteration of the paper's takes seconds")
    parser.add_argument("--iterations", type=int, default=60, help="of either loop")
    parser.add_argument("--seconds", type=float, default=10, help="to time generators for; at least 11 rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="the networks of GAN, not those of the plain loop")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    for part in options.parts:
        results: dict[str, Any] = {"environment": environment(torch.device("cpu"))}
        for name in options.sizes:
            size = SIZES[name] | ({} if options.batch is None else {"batch": options.batch})
            found = _generators(name, size, options) if part == "generators" else _iterations(name, size, options)
            results[name] = size | found
        RESULTS.mkdir(exist_ok=True)
        name = f"gan-{part}{'-compiled' * options.compile}-cpu.json"
        (RESULTS / name).write_text(json.dumps(results, indent=1) + "\n")


def _generators(name: str, size: dict[str, int], options: argparse.Namespace) -> dict[str, Any]:
    timings = generators(size, options.seconds)
    for kind, timing in timings.items():
        quartiles = f"{timing.ratio:.2f} ({timing.low:.2f}-{timing.high:.2f})"
        print(f"{name}, {kind}: {timing.milliseconds:.1f} ms, {quartiles} of the folded one's time", flush=True)
    return {kind: timing._asdict() for kind, timing in timings.items()}


def _iterations(name: str, size: dict[str, int], options: argparse.Namespace) -> dict[str, Any]:
    results = {}
    for kind in ("conv", "coordconv"):
        torch.manual_seed(0)
        found = iterations(kind, size, options.iterations, generator_steps=2, compile=options.compile)
        times = f"task {found['task_ms']:.1f} ms, plain loop {found['plain_ms']:.1f} ms"
        print(f"{name}, {kind}, an iteration: {times}, {found['speed']:.2f}x as fast", flush=True)
        results[kind] = found
    return results


if __name__ == "__main__":
    main()
