"""Writes the layers' speed tables of both READMEs from measured data: ``python -m benchmarks.speed``.

The data are those of ``python -m benchmarks.layer`` on a CPU and of ``python -m benchmarks.gpu`` on a GPU; a device
without a file, and a case without rows, is called "not measured".
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
DEVICES = {"cpu": ("layer-cpu.json", "python -m benchmarks.layer"), "cuda": ("gpu.json", "python -m benchmarks.gpu")}
"""For each device the file of its measurements, and the command that writes it."""
ABSENT = "not measured"
CASES = {
    "training": ("eager", "train", "coordconv"),
    "inference": ("eager", "infer", "coordconv"),
    "inference, folded": ("eager", "infer", "folded"),
    "training, compiled": ("compiled", "train", "coordconv"),
    "inference, compiled": ("compiled", "infer", "coordconv"),
}
"""Columns of the README's table: mode, task and layer."""
GRAPHS = {
    "training, CUDA graph": ("graph", "train", "coordconv"),
    "inference, CUDA graph": ("graph", "infer", "coordconv"),
}
"""Further columns for a GPU."""
KEYS = ("mode", "task", "dtype", "layout")
Row = dict[str, Any]


def measured(device: str) -> tuple[dict[str, Any], list[Row]]:
    """Return the environment and the rows of a device; both are empty where nothing was measured."""
    path = RESULTS / DEVICES[device][0]
    if not path.is_file():
        return {}, []
    found = json.loads(path.read_text())
    if device == "cpu":
        return found["environment"], found["rows"]
    rows = [row for name, part in found["parts"].items() if name.startswith("layer_") for row in part["rows"]]
    keys = list(dict.fromkeys(key(row) for row in rows))  # a GPU measures one shape in all ways, then the next
    return found["environment"], sorted(rows, key=lambda row: keys.index(key(row)))


def key(row: Row) -> tuple[str, ...]:
    """Return the table that a row belongs to."""
    return tuple(row[name] for name in KEYS)


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
        cases = CASES | (GRAPHS if device == "cuda" else {})
        lines = [
            f"| {where(environment)}: images -> output channels, kernel, stride | {' | '.join(cases)} |",
            "|---|" + "---:|" * len(cases),
        ]
        ratios = {(row["shape"], row["mode"], row["task"], row["layer"]): row["ratio"] for row in rows}
        for shape in dict.fromkeys(row["shape"] for row in rows):
            cells = [ratios.get((shape, *case)) for case in cases.values()]
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
            texts.append(f"{device.upper()}: {ABSENT}; `{DEVICES[device][1]}` measures it.")
            continue
        texts.append(f"{where(environment)}:")
        for _, group in itertools.groupby(rows, key):
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
        for case, group in itertools.groupby(rows, key):
            ratios: dict[str, dict[str, float]] = {}
            for row in group:
                ratios.setdefault(row["layer"], {})[row["shape"]] = row["ratio"]
            ours = ratios["coordconv"]
            ends = [pick(ours, key=ours.__getitem__) for pick in (min, max)]
            cells = [f"{ours[shape]:.2f} ({shape})" for shape in ends]
            slower = sum(ours[shape] > ratio for shape, ratio in ratios["concat"].items())
            lines.append(f"| {device} | {' | '.join(case)} | {' | '.join(cells)} | {slower} of {len(ours)} |")
    return "\n".join(lines)


def main() -> None:
    """Write the parts of both pages."""
    command = "python -m benchmarks.speed"
    fill(ROOT / "README.md", command, {"speed": summary})
    fill(ROOT / "benchmarks" / "README.md", command, {"layers": tables, "extremes": extremes})


if __name__ == "__main__":
    main()
