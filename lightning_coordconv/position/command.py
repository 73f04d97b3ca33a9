"""The command ``lightning-coordconv advise``: loads a model and data, prints and saves advice on using CoordConv."""

import json
import sys
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import jsonargparse
import torch
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torchvision.models import get_model, get_model_builder, list_models

from lightning_coordconv.core import BaseDataModule, BaseTask
from lightning_coordconv.core.arguments import check_seed
from lightning_coordconv.core.checkpoints import read_archive, read_state_dict
from lightning_coordconv.core.description import HYPERPARAMETERS
from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.files import complete_file, write_text
from lightning_coordconv.core.help_text import without_long_lists
from lightning_coordconv.core.hyperparameters import defaults_of
from lightning_coordconv.core.nulls import restore_nulls
from lightning_coordconv.core.option_changes import find_changes, to_text
from lightning_coordconv.position.advice import Advice, advise
from lightning_coordconv.position.figures import draw_advice

OF_FIT = ("trainer", "figures", "ckpt_path", "weights_only", "verbose", "return_predictions")
"""Further keys in the configs of Lightning's commands, so that those files can be given."""


def main(args: Sequence[str] | None = None) -> Advice:
    """Print an advice, and write ``advice.json`` and ``advice.png``.

    Args:
        args: arguments as a list; those of the process by default.
    """
    parser = _parser()
    try:
        config = parser.parse_args(args)
    except jsonargparse.ArgumentError as error:
        raise ValueError(str(error)) from error
    if config.ckpt_path is not None:
        raise ValueError(f"advise reads weights from --checkpoint, not from ckpt_path: got {config.ckpt_path!r}")
    objects = parser.instantiate_classes(config)
    if objects.checkpoint is not None and isinstance(objects.model, BaseTask):
        objects.data.prepare_data()
        objects.data.setup("fit")
        objects.model.network_for(objects.data)  # agents have no weights before they know their environment
        objects.data.teardown("fit")
    model = load_model(objects.model, objects.checkpoint)
    if objects.checkpoint is not None and not isinstance(objects.model, str):
        given = json.loads(parser.dump(config, skip_none=False, format="json"))["model"]
        _name_changes(objects.checkpoint, type(objects.model), given)
    torch.manual_seed(0)
    advice = advise(model, objects.data, objects.images, objects.readout_images)
    folder = Path(objects.out)
    write_text(folder / "advice.json", json.dumps(advice.to_dict(), indent=1) + "\n")
    with complete_file(folder / "advice.png") as part:
        draw_advice(advice).savefig(part, dpi=100, format="png")
    print(advice)
    print(f"Details: {folder / 'advice.json'}, {folder / 'advice.png'}")
    return advice


def load_model(model: nn.Module | str, checkpoint: str | Path | None = None) -> nn.Module:
    """Return a model, by name if it is a string, with the weights of a checkpoint if there is one.

    Args:
        model: a module, or the name of one of torchvision's models (``"resnet18"``), or one of timm's
            (``"timm/resnet18.a1_in1k"``); by name it has random weights.
        checkpoint: a file with a state dict, or with one under ``"state_dict"`` as Lightning writes it. Nothing in it
            is run.

    Raises:
        ValueError: for an unknown name, a damaged file, or weights of another architecture.
        FileNotFoundError: if there is no such file.
    """
    if isinstance(model, str):
        model = _by_name(model)
    if checkpoint is None:
        return model
    state = read_state_dict(checkpoint)
    prefix = _prefix(model.state_dict(), state, checkpoint)
    if prefix:
        for name in [name for name in state if not name.startswith(prefix)]:
            del state[name]
        consume_prefix_in_state_dict_if_present(state, prefix)  # with the metadata, which name the coordinates
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise ValueError(f"{checkpoint} holds weights of another architecture: {reason}") from error
    return model


def _prefix(wanted: Mapping[str, Any], state: Mapping[str, Any], checkpoint: str | Path) -> str:
    """Return what names of weights begin with in a checkpoint, as in that of a task around the model."""
    first = next(iter(wanted))
    prefixes = [name.removesuffix(first) for name in state if name == first or name.endswith(f".{first}")]
    found = [prefix for prefix in prefixes if all(f"{prefix}{name}" in state for name in wanted)]
    if len(found) > 1 and "" not in found:
        raise ValueError(f"{checkpoint} holds weights of several such models, {', '.join(found)}: save those of one")
    return "" if "" in found else next(iter(found or prefixes), "")


def _name_changes(checkpoint: str, kind: type, given: Mapping[str, Any]) -> None:
    """Print which options of a task or a network are not those of a checkpoint: its weights can fit all the same."""
    names = {given["class_path"], f"{kind.__module__}.{kind.__qualname__}"}
    content = read_archive(checkpoint)
    saved = content.get(HYPERPARAMETERS) if isinstance(content, Mapping) else None
    if not isinstance(saved, Mapping):
        return
    described = [{"class_path": saved.get("_class_path"), "init_args": saved}, *saved.values()]
    own = next((each for each in described if isinstance(each, Mapping) and each.get("class_path") in names), None)
    if own is None:
        return
    before, now = (defaults_of(kind) | (each.get("init_args") or {}) for each in (own, given))
    changes = [change for change in find_changes(before, now) if not change.of_optimiser]
    if changes:
        print(to_text(changes), file=sys.stderr)


def _by_name(name: str) -> nn.Module:
    library, _, rest = name.rpartition("/")
    if library == "timm":
        with extra("advise", "models by the name timm/..."):
            import timm
        if not timm.is_model(rest):
            raise ValueError(f"timm has no model {rest!r}")
        return timm.create_model(rest)
    if name not in list_models():
        raise ValueError(f"torchvision has no model {name!r}; give a class_path, or timm/NAME for one of timm's")
    accepted = signature(get_model_builder(name)).parameters
    return get_model(name, **dict.fromkeys({"weights", "weights_backbone"} & set(accepted)))  # nothing is downloaded


class _Parser(jsonargparse.ArgumentParser):
    def format_help(self, *formatter: Any) -> str:
        return without_long_lists(super().format_help(*formatter))

    def parse_args(self, args: Any = None, *more: Any, **options: Any) -> Any:
        config = super().parse_args(args, *more, **options)
        restore_nulls(config, sys.argv[1:] if args is None else args)
        return config


def _parser() -> jsonargparse.ArgumentParser:
    parser = _Parser(
        prog="lightning-coordconv advise",
        description="Say whether position matters for a model and its data, and which convolutions should see it. "
        "Nothing is trained; it takes minutes on two cores.",
        exit_on_error=False,
    )
    parser.add_argument("-c", "--config", action="config", help="a config of fit: its model and data are used")
    parser.add_argument(
        "--model", type=nn.Module | str, required=True, help="a class_path, or a name: resnet18, timm/…"
    )
    parser.add_argument("--checkpoint", type=str | None, default=None, help="weights of the model")
    parser.add_subclass_arguments(BaseDataModule, "data", required=True)
    parser.add_argument("--images", type=int, default=500, help="training samples for the dependence on position")
    parser.add_argument("--readout_images", type=int, default=24, help="of these, images that the model is run on")
    parser.add_argument("--out", type=str, default="advice", help="folder for advice.json and advice.png")
    parser.add_argument("--seed_everything", type=bool | int, default=0, help="seed of the data, as of fit")
    parser.link_arguments("seed_everything", "data.init_args.seed", check_seed)
    for name in OF_FIT:
        parser.add_argument(f"--{name}", type=Any, help=jsonargparse.SUPPRESS)
    return parser
