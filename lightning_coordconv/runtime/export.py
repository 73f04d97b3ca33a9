"""The command ``lightning-coordconv export``: writes a network as ONNX (also INT8), torch.export or an SB3 zip."""

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import jsonargparse

from lightning_coordconv.core.checkpoints import CheckpointError, read_checkpoint
from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.core.export import ExportError, Format
from lightning_coordconv.core.files import refuse_input
from lightning_coordconv.core.plain_data import UntrustedCheckpointError
from lightning_coordconv.core.restore import domain_of, task_class
from lightning_coordconv.core.shipped import find_weights
from lightning_coordconv.runtime.classes import build_data
from lightning_coordconv.runtime.config_files import read_config
from lightning_coordconv.runtime.errors import OneLineParser
from lightning_coordconv.runtime.shipped_configs import find

EPILOG = """The format follows from the suffix of OUT: .onnx, .pt2 (a torch.export.ExportedProgram), .zip
(Stable-Baselines3). The file appears once its outputs have been compared with those of the network on three inputs.
A file takes float32 images in [0, 1], which it normalises itself; a generator's takes latent vectors, and returns
images in [-1, 1]; a network that paints positions takes these. Metadata in the file describe what it takes."""


def main(args: Sequence[str] | None = None) -> None:
    """Export a checkpoint, and print where to and how much the outputs differ.

    Args:
        args: arguments as a list; those of the process by default.
    """
    options = make_parser().parse_args(args)
    read = (find_weights(options.checkpoint), options.images, options.int8)
    refuse_input(options.out, [Path(given) for given in read if given is not None])
    try:
        model = _load(options.checkpoint, options.trust)
    except UntrustedCheckpointError as error:
        raise UntrustedCheckpointError(str(error).replace("trust=True", "--trust")) from error
    size = None if options.size is None else tuple(options.size)
    if options.int8 is None:
        accuracy, difference = None, model.export(options.out, size, options.format, options.images)
    else:
        accuracy = _export_int8(model, options, size)
        difference = accuracy.difference
    share = f"{difference:.1e} of the largest value"
    print(f"Wrote {options.out}. Its outputs differ from the network's by at most {share}.")
    if accuracy is not None:
        print(accuracy)


def _export_int8(model: Any, options: argparse.Namespace, size: tuple[int, ...] | None) -> Any:
    if not hasattr(model, "export_int8"):
        raise ExportError(
            f"{type(model.task).__name__} is not exported in INT8: image classification and semantic segmentation are"
        )
    data = read_data(options.int8)
    name = type(data).__qualname__
    state = read_checkpoint(find_weights(options.checkpoint)).get(name)
    if state is not None:
        data.load_state_dict(state)  # the split of the run
    return model.export_int8(options.out, data, size, options.format, options.images)


def read_data(config: str) -> BaseDataModule:
    """Return the data module that a config of ``fit`` describes.

    Args:
        config: a file, such as the ``config.yaml`` of a run, or the name of a config of the package.

    Raises:
        ValueError: if there is no such config, or it describes no data.
    """
    (path,) = find(config)
    read_config(path)
    try:
        return build_data(jsonargparse.get_loader("yaml")(path.read_text("utf-8")))  # as fit reads it
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _load(given: str, trust: bool) -> Any:
    """Return the trained model of a checkpoint, of the domain that its task belongs to."""
    path = find_weights(given)
    kind = task_class(read_checkpoint(path), path, trust)
    if kind is None:
        raise CheckpointError(f"{path} does not say what its task is: export it in Python, with load(...).export(...)")
    domain = domain_of(kind)
    load = None if domain is None else getattr(importlib.import_module(domain), "load", None)
    if load is None:
        raise CheckpointError(
            f"{path} is a checkpoint of {kind.__name__}, which this command cannot export: use torch.onnx.export with "
            "the task's network"
        )
    return load(path, device="cpu", trust=trust)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = OneLineParser(
        prog="lightning-coordconv export",
        description="Write the network of a checkpoint to a file that other programs run.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", help="a checkpoint, or the name of weights that are part of the package")
    parser.add_argument("out", type=Path, help="the file to write; it is replaced if it exists")
    parser.add_argument(
        "--format", choices=get_args(Format), help="of the file, where the suffix of OUT does not say it"
    )
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"),
        help="of images, which detectors need: coordinates become constants; others take images of any size without it",
    )  # fmt: skip
    parser.add_argument("--images", help="a folder of images, or one: compare outputs on these, not on random ones")
    parser.add_argument(
        "--int8", metavar="CONFIG",
        help="quantise to INT8, calibrated on the data of a config of fit, such as the config.yaml of the run",
    )  # fmt: skip
    parser.add_argument("--trust", action="store_true", help="build whatever the checkpoint names, which can run code")
    return parser
