"""Trains, exports and checks the two networks of the documentation's demo page: ``python -m benchmarks.browser``.

It trains CoordConv and the deconvolution on coordinate classification, quadrant partition, with the shipped configs
(seven minutes on one core; a run that is finished is used again), exports both to ``docs/experiment/`` with the softmax
over the canvas, and measures the exported files in onnxruntime at every pixel. What the page says about the networks
is written to ``docs/experiment/networks.json``.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

from lightning_coordconv.coordinates import CoordinateClassification, NotSoClevr
from lightning_coordconv.runtime.cli import main as run

PAGE = Path(__file__).parents[1] / "docs" / "experiment"
NETWORKS = {"coordconv": "CoordConv", "deconv": "Deconvolution"}
SEED = 0
VERSION = f"seed{SEED}"
TOLERANCE = 1e-4  # largest difference between a probability of torch and one of onnxruntime


class Painter(nn.Module):
    """A network from positions to logits, and the softmax over its canvas.

    Args:
        net: maps positions (B, 2) to logits (B, H, W).
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, xy_scaled: Tensor) -> Tensor:
        """Map positions (B, 2), float32 in [-1, 1], to the probability of each pixel (B, H, W)."""
        logits: Tensor = self.net(xy_scaled)
        return logits.flatten(1).softmax(1).view_as(logits)


def train(experiment: str, logs: Path) -> Path:
    """Return the folder of a finished run of an experiment, after training it if there is none."""
    folder = logs / experiment / VERSION
    if not (folder / "summary.json").is_file():
        logger = ["--trainer.logger.init_args.save_dir", str(logs), "--trainer.logger.init_args.version", VERSION]
        run(["fit", "-c", experiment, "--seed_everything", str(SEED), *logger, "--ckpt_path", "last"])
    return folder


def best_checkpoint(folder: Path) -> Path:
    """Return the best checkpoint of a run."""
    (best,) = set(folder.glob("checkpoints/*.ckpt")) - {folder / "checkpoints" / "last.ckpt"}
    return best


def inputs(positions: NotSoClevr) -> Tensor:
    """Return positions as networks read them, (N, 2) in [-1, 1]."""
    return positions.__getitems__(list(range(len(positions))))["xy_scaled"]


def export(painter: Painter, path: Path) -> None:
    """Write a painter of one position as ONNX, without the names of files that the exporter keeps."""
    example = torch.zeros(1, 2)
    program = torch.onnx.export(
        painter, (example,), input_names=["xy"], output_names=["probability"], dynamo=True, verbose=False
    )
    assert program is not None
    for node in program.model.graph:
        node.metadata_props.clear()
    program.save(path)


def paint(path: Path, xy_scaled: Tensor) -> npt.NDArray[np.float32]:
    """Return the probabilities (N, H, W) that an exported painter gives, one position at a time."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"xy": xy[None].numpy()})[0] for xy in xy_scaled])


def check(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32], name: str) -> float:
    """Return the largest difference of two arrays of probabilities.

    Raises:
        SystemExit: if it exceeds the tolerance.
    """
    difference = float(np.abs(expected - found).max())
    if not difference <= TOLERANCE:
        raise SystemExit(f"{name}: torch and onnxruntime differ by {difference:.1e}, more than {TOLERANCE:.0e}")
    return difference


def measure(probability: npt.NDArray[np.float32], positions: NotSoClevr) -> dict[str, float]:
    """Return accuracy and mean distance in pixels, of the most probable pixel, on training and held-out positions.

    Args:
        probability: (N, H, W), in the order of the positions.
        positions: all positions of a partition.
    """
    width = probability.shape[-1]
    row, column = np.divmod(probability.reshape(len(probability), -1).argmax(1), width)
    distance = np.hypot(column - positions.xy[:, 0].numpy(), row - positions.xy[:, 1].numpy())
    parts = {"train": ~positions.held_out.numpy(), "held_out": positions.held_out.numpy()}
    return {
        f"{part}_{name}": round(float(values[chosen].mean()), 4)
        for part, chosen in parts.items()
        for name, values in (("accuracy", distance == 0), ("distance", distance))
    }


def describe(name: str, logs: Path, positions: NotSoClevr, everywhere: NotSoClevr) -> dict[str, Any]:
    """Train, export and check one network, and return what the page says about it."""
    folder = train(f"coordinates/classification_quadrant_{name}", logs)
    summary = json.loads((folder / "summary.json").read_text())
    painter = Painter(CoordinateClassification.load_from_checkpoint(best_checkpoint(folder)).net).eval()
    path = PAGE / f"{name}.onnx"
    export(painter, path)
    with torch.no_grad():
        expected = torch.cat([painter(xy[None]) for xy in inputs(everywhere)]).numpy()
    found = paint(path, inputs(everywhere))
    x, y = positions.xy.unbind(1)
    return {
        "name": NETWORKS[name],
        "file": path.name,
        "bytes": path.stat().st_size,
        "weights": summary["weights"],
        "steps": summary["steps"],
        "cpu_seconds": round(summary["cpu_seconds"]),
        "difference_from_torch": float(f"{check(expected, found, name):.1e}"),
        **measure(found[x * everywhere.canvas + y], positions),  # x is the outer loop of all positions
    }


def main() -> None:
    """Write the networks and their description."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=Path, default=Path("logs"), help="folder of the two runs (default: logs)")
    logs = parser.parse_args().logs
    torch.set_num_threads(1)
    positions = NotSoClevr("all", "quadrant")
    everywhere = NotSoClevr("all", "quadrant", size=1)
    held_out = positions.xy[positions.held_out]
    page = {
        "canvas": positions.canvas,
        "positions": [int(positions.xy.min()), int(positions.xy.max())],
        "held_out": [int(held_out.min()), int(held_out.max())],
        "seed": SEED,
        "networks": [describe(name, logs, positions, everywhere) for name in NETWORKS],
    }
    (PAGE / "networks.json").write_text(json.dumps(page, indent=2) + "\n")


if __name__ == "__main__":
    main()
