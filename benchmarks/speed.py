"""Writes the layers' speed tables of both READMEs from measured data: ``python -m benchmarks.speed``.

The data are ``results/layer-<device>.json`` of ``python -m benchmarks.layer``; a device without a file, and a case
without rows, is called "not measured".
"""

import itertools
import json
from pathlib import Path
from typing import Any

from benchmarks.layer import table
from benchmarks.pages import fill
from benchmarks.shapes import TINY

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
DEVICES = ("cpu", "cuda")
ABSENT = "not measured"
CASES = {
    "training": ("eager", "train", "coordconv"),
    "inference": ("eager", "infer", "coordconv"),
    "inference, folded": ("eager", "infer", "folded"),
    "training, compiled": ("compiled", "train", "coordconv"),
    "inference, compiled": ("compiled", "infer", "coordconv"),
}
"""Columns of the README's table: mode, task and layer."""
Row = dict[str, Any]


def measured(device: str) -> tuple[dict[str, Any], list[Row]]:
    """Return the environment and the rows of a device; both are empty where nothing was measured."""
    path = RESULTS / f"layer-{device}.json"
    if not path.is_file():
        return {}, []
    found = json.loads(path.read_text())
    return found["environment"], found["rows"]


def where(environment: dict[str, Any]) -> str:
    """Describe the machine of a measurement."""
    threads = f", {environment['threads']} threads" if environment["device"] == "cpu" else ""
    return f"{environment['device'].upper()} ({environment['name']}{threads}, torch {environment['torch']})"


def described(shape: str) -> str:
    """Describe a shape: batch, channels, height, width, output channels, kernel and stride."""
    batch, channels, height, width, outputs, kernel, stride = shape.split(",")
    return f"{batch} x {channels} x {height} x {width} -> {outputs}, {kernel}x{kernel}, {stride}"


def summary(dtype: str = "fp32", layout: str = "nchw") -> str:
    """Return a table for each device: a line a shape, and how long CoordConv2d takes compared with ``nn.Conv2d``."""
    texts, absent = [], []
    for device in DEVICES:
        environment, rows = measured(device)
        rows = [row for row in rows if (row["dtype"], row["layout"]) == (dtype, layout) and row["shape"] != str(TINY)]
        if not rows:
            absent.append(device.upper())
            continue
        lines = [
            f"| {where(environment)}: images -> output channels, kernel, stride | {' | '.join(CASES)} |",
            "|---|" + "---:|" * len(CASES),
        ]
        ratios = {(row["shape"], row["mode"], row["task"], row["layer"]): row["ratio"] for row in rows}
        for shape in dict.fromkeys(row["shape"] for row in rows):
            cells = [ratios.get((shape, *case)) for case in CASES.values()]
            texts_of = [ABSENT if cell is None else f"{cell:.2f}" for cell in cells]
            lines.append(f"| {described(shape)} | {' | '.join(texts_of)} |")
        texts.append("\n".join(lines))
    head = (
        f"Time of a `CoordConv2d` divided by that of an `nn.Conv2d`, {dtype}, {layout.upper()}; medians. Above 1, "
        f"CoordConv is slower.{''.join(f' {device}: {ABSENT}.' for device in absent)}"
    )
    return "\n\n".join([head, *texts])


def tables() -> str:
    """Return all measurements of all devices, as ``benchmarks.layer`` prints them."""
    texts = []
    for device in DEVICES:
        environment, rows = measured(device)
        if not rows:
            texts.append(f"{device.upper()}: {ABSENT}; `python -m benchmarks.layer --device {device}` measures it.")
            continue
        texts.append(f"{where(environment)}:")
        keys = ("mode", "task", "dtype", "layout")
        for _, group in itertools.groupby(rows, key=lambda row: tuple(row[key] for key in keys)):
            texts.append(f"```text\n{table(list(group))}\n```")
    return "\n\n".join(texts)


def extremes() -> str:
    """Return a line for each case: the shapes with the least and the greatest ratio, and where concat is faster."""
    lines = [
        "| device | mode | task | dtype | layout | least | greatest | shapes on which `concat` is faster |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for device in DEVICES:
        _, rows = measured(device)
        if not rows:
            lines.append(f"| {device} | {ABSENT} | | | | | | |")
        keys = ("mode", "task", "dtype", "layout")
        for key, group in itertools.groupby(rows, key=lambda row: tuple(row[key] for key in keys)):
            ratios: dict[str, dict[str, float]] = {}
            for row in group:
                ratios.setdefault(row["layer"], {})[row["shape"]] = row["ratio"]
            ours = ratios["coordconv"]
            ends = [pick(ours, key=ours.__getitem__) for pick in (min, max)]
            cells = [f"{ours[shape]:.2f} ({shape})" for shape in ends]
            slower = sum(ours[shape] > ratio for shape, ratio in ratios["concat"].items())
            lines.append(f"| {device} | {' | '.join(key)} | {' | '.join(cells)} | {slower} of {len(ours)} |")
    return "\n".join(lines)


def main() -> None:
    """Write the parts of both pages."""
    command = "python -m benchmarks.speed"
    fill(ROOT / "README.md", command, {"speed": summary})
    fill(ROOT / "benchmarks" / "README.md", command, {"layers": tables, "extremes": extremes})


if __name__ == "__main__":
    main()
