"""Records which models of other libraries convert to CoordConv, compile and export: ``python -m benchmarks.foreign``.

    make foreign                          # everything that is not in the file of results yet
    python -m benchmarks.foreign --table  # only write the table

Each model is tried in a separate process, with a limit of CPU time. An interrupted run goes on where it was.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import signal
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.foreign.checks import PlainModelError, compiles, exports, first_line, surgery
from benchmarks.foreign.models import Model, models
from benchmarks.foreign.table import table
from benchmarks.pages import fill

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "foreign.json"
STEPS: dict[str, tuple[Callable[[Model], dict[str, str]], int]] = {
    "surgery": (surgery, 120),
    "compile": (compiles, 180),
    "onnx": (exports, 240),
}
"""Checks, and the seconds of CPU time that each may take."""
PATIENCE = 20
"""A child that waits is ended after this many times its limit."""
PACKAGES = ("torch", "torchvision", "timm", "segmentation-models-pytorch", "transformers", "diffusers", "monai",
            "ultralytics", "onnx", "onnxscript", "onnxruntime")  # fmt: skip


def warm_up(step: str) -> None:
    """Import what a step imports when it is used first, for all children."""
    layer, x = torch.nn.Conv2d(1, 1, 1).eval(), torch.ones(1, 1, 2, 2)
    if step == "compile":
        torch.compile(layer, backend="aot_eager")(x)
    elif step == "onnx":
        import_module("onnxruntime")
        torch.onnx.export(layer, (x,), dynamo=True, verbose=False)


def attempt(step: str, model: Model, pipe: Connection) -> None:
    """Run a check, and send its outcome: what differs by check, or an error."""
    resource.setrlimit(resource.RLIMIT_CPU, (STEPS[step][1], resource.RLIM_INFINITY))
    try:
        torch.set_num_threads(1)
        outcome: dict[str, Any] = {"found": STEPS[step][0](model)}
    except PlainModelError as error:
        outcome = {"plain model": str(error)[:160]}
    except Exception as error:
        outcome = {"error": first_line(error)}
    pipe.send(outcome)


def limited(step: str, model: Model) -> dict[str, Any]:
    """Run a check in a child process, and end it after its limit."""
    try:
        import_module(model.package)  # once, not in each child
    except ImportError as error:
        return {"error": first_line(error), "seconds": 0.0}
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=attempt, args=(step, model, sender))
    limit, before = STEPS[step][1], _cpu_seconds_of_children()
    child.start()
    sender.close()
    outcome: dict[str, Any] = {"error": "the process ended without an answer"}
    try:
        if receiver.poll(PATIENCE * limit):
            outcome = receiver.recv()
    except EOFError:
        child.join()
        if child.exitcode == -signal.SIGXCPU:
            outcome["error"] = f"took more than {limit} s"
    child.kill()
    child.join()
    return outcome | {"seconds": round(_cpu_seconds_of_children() - before, 1)}


def _cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run the checks that are missing, step by step, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="run nothing, write the table")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--only", default="", help="run models again whose LIBRARY/NAME contains this")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"models": {}}
    results["listed"] = len(list(models()))
    if not options.table:
        results["versions"] = {package: _version(package) for package in PACKAGES} | {
            "python": platform.python_version()
        }
        for step in options.steps:
            warm_up(step)
            for model in models():
                name = f"{model.library}/{model.name}"
                outcomes = results["models"].setdefault(name, {})
                if (options.only in name) if options.only else (step not in outcomes):
                    outcomes[step] = limited(step, model)
                    print(name, step, outcomes[step], flush=True)
                    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    fill(ROOT / "docs" / "compatibility.md", "make foreign", {"models": lambda: table(results)})


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
