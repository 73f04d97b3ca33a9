"""Estimates what the full-size GAN, VAE, LSUN and ImageNet runs would cost: ``python -m benchmarks.claims.costs``.

Trains each experiment for two steps on stand-in images on the CPU, with batches of 16 and of 32, counts the
floating-point operations of a step and the peak of the memory that torch allocates, and extrapolates to the batch and
the number of images of its config. Writes ``benchmarks/results/costs.json``, which ``benchmarks.claims`` reads. Takes
a few minutes on one core.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode
from torchvision.io import write_png

from benchmarks.gpu.commands import fit
from benchmarks.measure import peak_bytes
from lightning_coordconv.runtime import shipped_configs

RESULTS = Path(__file__).parents[1] / "results" / "costs.json"
SORT_OF_CLEVR, BEDROOMS, IMAGENET = 50_000, 3_033_042, 1_281_167
"""Training images: of the generated data set by default, of LSUN's bedrooms, and of ImageNet."""
EXPERIMENTS = {
    "generative/conv": SORT_OF_CLEVR,
    "generative/coordconv_before_tanh": SORT_OF_CLEVR,
    "generative/vae_conv": SORT_OF_CLEVR,
    "generative/vae_coordconv": SORT_OF_CLEVR,
    "generative/bedrooms_conv": BEDROOMS,
    "generative/bedrooms_coordconv": BEDROOMS,
    "classification/imagenet_conv": IMAGENET,
    "classification/imagenet_coordconv": IMAGENET,
}
"""Images in an epoch by experiment."""
BATCHES = (16, 32)
STEPS = 2
FLOPS = 10e12
"""Floating-point operations a second that a GPU is assumed to sustain."""
SHORT = (
    f"--trainer.limit_train_batches={STEPS}", "--trainer.max_epochs=1", "--trainer.limit_val_batches=0",
    "--trainer.limit_test_batches=0", "--trainer.num_sanity_val_steps=0", "--trainer.accelerator=cpu",
    "--trainer.precision=32-true", "--figures=false",
)  # fmt: skip


def stand_in(experiment: str, folder: Path) -> list[str]:
    """Return arguments that replace the data of an experiment by noise in a folder, where it needs files."""
    if "imagenet" in experiment:
        for part in ("train/a", "train/b", "val/a", "val/b"):
            draw(folder / part, 2 * BATCHES[-1], 224)
        return [f"--data.root={folder}", "--data.num_workers=0"]
    if "bedrooms" in experiment:
        draw(folder, 5 * BATCHES[-1], 64)
        return ["--data=UnlabelledImagesDataModule", f"--data.root={folder}", "--data.eval_count=16"]
    return []


def draw(folder: Path, count: int, side: int) -> None:
    """Write images of noise."""
    folder.mkdir(parents=True)
    for i in range(count):
        write_png(torch.randint(256, (3, side, side), dtype=torch.uint8), str(folder / f"{i}.png"))


def measure(experiment: str) -> dict[str, Any]:
    """Return what an experiment costs: operations of an image, bytes of a step, images and hours of the whole run."""
    merged: dict[str, dict[str, Any]] = {"data": {}, "trainer": {}}
    for path in shipped_configs.find(experiment):
        config = yaml.safe_load(path.read_text())
        merged["data"] |= config.get("data", {}).get("init_args", {})
        merged["trainer"] |= config.get("trainer", {})
    batch, epochs = merged["data"]["batch_size"], merged["trainer"]["max_epochs"]
    peaks = []
    with tempfile.TemporaryDirectory() as temporary:
        arguments = [*SHORT, *stand_in(experiment, Path(temporary, "images"))]
        for size in BATCHES:
            counter = FlopCounterMode(display=False)
            peaks.append(peak_bytes(lambda: train(experiment, arguments, size, counter), torch.device("cpu")))  # noqa: B023
    per_image = (peaks[1] - peaks[0]) / (BATCHES[1] - BATCHES[0])
    flops = counter.get_total_flops() / (STEPS * BATCHES[-1])
    images = epochs * EXPERIMENTS[experiment]
    return {
        "experiment": experiment, "images": images, "batch_size": batch, "flops_an_image": flops,
        "gpu_hours": images * flops / FLOPS / 3600, "gib": (peaks[0] + per_image * (batch - BATCHES[0])) / 2**30,
        "torch": torch.__version__,
    }  # fmt: skip


def train(experiment: str, arguments: Sequence[str], size: int, counter: FlopCounterMode) -> None:
    """Train a few steps while operations are counted."""
    with counter:
        fit(experiment, [*arguments, f"--data.batch_size={size}"])


def main() -> None:
    """Measure all experiments and write the results."""
    torch.set_num_threads(1)
    rows = []
    for experiment in EXPERIMENTS:
        rows.append(measure(experiment))
        print(rows[-1], flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
