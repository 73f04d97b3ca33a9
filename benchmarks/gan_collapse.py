"""Trains variants of the paper's GAN to find why it ends in empty images: ``python -m benchmarks.gan_collapse``.

Trains the paper's recipe, scaled down to a canvas of 16 pixels and a width of 16, with several changes and seeds, and
records the generator's output and gradients. A run of 400 iterations takes about 15 seconds of one core. A finished
run is not repeated, so the command can be stopped and started again. From the records it prints a table and draws
``docs/gan_collapse.png``.

What the records show: without norm in the generator, the output before tanh runs away within 100 iterations. Where tanh
is saturated in every pixel, its slope and the gradients of all layers fall by four orders of magnitude and more, and
nothing is left that could paint an object. It does not run away if the discriminator sees the output before tanh, so
that it answers to the overshoot, or with batch norm in the generator. At the start the 256 latent numbers weigh 12
times as much as the coordinates, so all pixels move alike; a balanced initialisation with R1 is not enough: a seed of
five still dies.
"""

import argparse
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn

from lightning_coordconv.generative import (
    GAN,
    ConvDiscriminator,
    CoordConvGenerator,
    SortOfClevrDataModule,
    find_flaws,
    find_objects,
)
from lightning_coordconv.layers import CoordConv2d

RUNS = Path(__file__).parent / "results" / "gan_collapse"
FIGURE = Path(__file__).parents[1] / "docs" / "gan_collapse.png"
LATENTS, CANVAS, RADIUS, WIDTH, BATCH = 256, 16, 3, 16, 16
INTERVAL = 10
"""Iterations between two records."""
DEAD = 1e-3
"""Share of its size below which the gradient is lost in the tanh, on average over the pixels."""


class Arm(NamedTuple):
    """A recipe; the defaults are the paper's, with the tanh in front of the discriminator."""

    label: str
    squash: bool = True
    balanced: bool = False
    """Coordinates and latent vector contribute equal variances to the first layer, rather than 1 to 128."""
    generator_norm: Any = "none"
    discriminator_norm: Any = "batch"
    r1: float = 0.0
    generator_steps: int = 2
    rates: tuple[float, float] = (5e-4, 1e-4)
    """Learning rates of generator and discriminator."""
    beta: float = 0.9


R1 = Arm("tanh, R1", discriminator_norm="none", r1=1.0, generator_steps=1, rates=(2e-3, 2e-3), beta=0.0)
ARMS = {
    "tanh": Arm("the paper's recipe, tanh before the discriminator"),
    "before_tanh": Arm("the authors': the discriminator sees the output before tanh", squash=False),
    "norm": Arm("tanh, batch norm in the generator", generator_norm="batch"),
    "r1_balanced": R1._replace(label="tanh, R1, balanced initialisation", balanced=True),
    "r1_norm": R1._replace(label="ours: tanh, R1, batch norm in the generator", generator_norm="batch"),
}


class Recorder(Callback):
    """Records outputs and gradients of the generator."""

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []
        self.gradients: dict[str, float] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the first layer, and watch the gradients before and after the tanh."""
        generator, discriminator = (getattr(pl_module, name) for name in ("generator", "discriminator"))
        latents: Tensor = pl_module.fixed_latents  # type: ignore[assignment]
        with torch.no_grad():
            maps = generator[0](latents)
        self.start = {"latents": _std(maps, 0), "coordinates": _std(maps.flatten(2), 2)}

        def keep(name: str, tensor: Tensor) -> None:
            if tensor.requires_grad and not tensor.is_leaf:
                tensor.register_hook(partial(self._keep, name))

        generator.register_forward_hook(lambda module, inputs, output: keep("before", output))
        discriminator.register_forward_pre_hook(lambda module, inputs: keep("after", inputs[0]))

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add a record of the fixed latent vectors."""
        if batch_idx % INTERVAL:
            return
        with torch.no_grad():
            output = pl_module.generator(pl_module.fixed_latents)
        images = torch.tanh(output)
        flaws = find_flaws(find_objects(images, RADIUS), RADIUS)
        weighted = [layer for layer in pl_module.generator if isinstance(layer, nn.Conv2d)]
        self.history.append(
            {
                "iteration": batch_idx,
                "layers": [_norm(layer) for layer in weighted],
                "gradients": dict(self.gradients),
                "largest": output.abs().max().item(),
                "slope": (1 - images.square()).mean().item(),
                "white": (images > 0.9).all(1).float().mean().item(),
                "variation": _std(images, 0),
                "missing": flaws["missing"].float().mean().item(),
                "well_formed": 1 - torch.stack(list(flaws.values())).any(0).float().mean().item(),
            }
        )

    def _keep(self, name: str, gradient: Tensor) -> None:
        self.gradients[name] = gradient.square().mean().sqrt().item()


def _std(tensor: Tensor, axis: int) -> float:
    return tensor.std(axis).mean().item()


def _norm(layer: nn.Module) -> float:
    return float(sum(weight.grad.square().sum() for weight in layer.parameters() if weight.grad is not None)) ** 0.5


def train(arm: Arm, seed: int, iterations: int) -> dict[str, Any]:
    """Train one arm, and return its record."""
    seed_everything(seed, verbose=False)
    generator = CoordConvGenerator(LATENTS, CANVAS, WIDTH, norm=arm.generator_norm)
    if arm.balanced:
        _balance(generator[0])  # type: ignore[arg-type]
    generator_adam, discriminator_adam = (
        partial(torch.optim.Adam, lr=rate, betas=(arm.beta, 0.99)) for rate in arm.rates
    )
    task = GAN(
        generator, ConvDiscriminator(CANVAS, WIDTH, True, arm.discriminator_norm), generator_adam, discriminator_adam,
        ema_decay=None, latent_size=LATENTS, object_radius=RADIUS, r1=arm.r1, generator_steps=arm.generator_steps,
        squash=arm.squash,
    )  # fmt: skip
    data = SortOfClevrDataModule(BATCH * iterations, BATCH, CANVAS, RADIUS, batch_size=BATCH, seed=seed)
    recorder = Recorder()
    start = time.process_time()
    Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, callbacks=[recorder],
    ).fit(task, data)  # fmt: skip
    seconds = time.process_time() - start
    return {"iterations": iterations, "cpu_seconds": seconds, "start": recorder.start, "history": recorder.history}


def _balance(first: CoordConv2d) -> None:
    """Scale the first layer so that coordinates and latents contribute equal variances, and the same one in all."""
    kernels = (first.weight, first.coord_weight)
    inputs = sum(kernel.shape[1] for kernel in kernels)
    with torch.no_grad():
        for kernel in kernels:
            kernel.mul_((inputs / (2 * kernel.shape[1])) ** 0.5)


def table(records: dict[str, list[dict[str, Any]]]) -> str:
    """Return a Markdown table of the ends of the runs: medians over seeds."""
    columns = ("largest", "slope", "white", "variation", "missing", "well_formed")
    rows = [f"| arm | seeds | dead | {' | '.join(columns)} | gradient of layer 1 |", "|---" * (4 + len(columns)) + "|"]
    for name, runs in records.items():
        ends = [run["history"][-1] for run in runs]
        dead = sum(end["slope"] < DEAD for end in ends)
        values = [f"{statistics.median(end[column] for end in ends):.2g}" for column in columns]
        gradient = f"{statistics.median(end['layers'][0] for end in ends):.1e}"
        rows.append(f"| {ARMS[name].label} | {len(runs)} | {dead} | {' | '.join(values)} | {gradient} |")
    return "\n".join(rows)


def draw(records: dict[str, list[dict[str, Any]]]) -> Figure:
    """Draw what happens in each arm; thin lines are seeds."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    panels = figure.subplots(2, 3)
    quantities: list[tuple[str, str, Callable[[dict[str, Any]], float]]] = [
        ("largest output before tanh", "log", lambda record: record["largest"]),
        ("mean slope of tanh", "log", lambda record: max(record["slope"], 1e-8)),
        ("share of white pixels", "linear", lambda record: record["white"]),
        ("gradient norm, first layer", "log", lambda record: max(record["layers"][0], 1e-9)),
    ]
    for axes, (title, scale, value) in zip(panels.flat, quantities, strict=False):
        for colour, (name, runs) in enumerate(records.items()):
            for number, run in enumerate(runs):
                steps = [record["iteration"] for record in run["history"]]
                label = ARMS[name].label if number == 0 else None
                axes.plot(steps, [value(r) for r in run["history"]], color=f"C{colour}", linewidth=0.8, label=label)
        axes.set(title=title, yscale=scale, xlabel="iteration")
    _draw_layers(panels.flat[4], records["tanh"][0]["history"])
    names = [name for name in ("tanh", "r1_balanced") if name in records]
    for offset, kind in ((-0.2, "latents"), (0.2, "coordinates")):
        heights = [statistics.mean(run["start"][kind] for run in records[name]) for name in names]
        panels.flat[5].bar([i + offset for i in range(len(names))], heights, 0.4, label=kind)
    panels.flat[5].set(title="first layer at the start: std due to")
    panels.flat[5].set_xticks(range(len(names)), labels=["he normal, as the paper", "balanced"][: len(names)])
    panels.flat[5].legend(fontsize=7)
    figure.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
    return figure


def _draw_layers(axes: Any, history: list[dict[str, Any]]) -> None:
    for layer in range(len(history[0]["layers"])):
        norms = [max(record["layers"][layer], 1e-9) for record in history]
        axes.plot([record["iteration"] for record in history], norms, color=f"{0.8 - layer / 10:.1f}", linewidth=0.8)
    white = axes.twinx()
    white.plot([r["iteration"] for r in history], [r["white"] for r in history], color="C3", linewidth=1)
    white.set_ylabel("share of white pixels", color="C3")
    axes.set(title="tanh, seed 0: gradient norm by layer", yscale="log", xlabel="iteration")


def main() -> None:
    """Train what is missing, print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    RUNS.mkdir(parents=True, exist_ok=True)
    records: dict[str, list[dict[str, Any]]] = {}
    for seed in options.seeds:
        for name in options.arms:
            path = RUNS / f"{name}_seed{seed}.json"
            if not path.is_file():
                path.write_text(json.dumps(train(ARMS[name], seed, options.iterations)) + "\n")
                print(f"{name}, seed {seed}: {path}", flush=True)
            records.setdefault(name, []).append(json.loads(path.read_text()))
    print(table(records))
    if "tanh" in records:
        draw(records).savefig(FIGURE, dpi=100)
        print(FIGURE)


if __name__ == "__main__":
    main()
