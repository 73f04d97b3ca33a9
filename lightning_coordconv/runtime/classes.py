"""Functions that build a configuration's data module, and pass its number of classes to the task and the network."""

import importlib
import inspect
import logging
from collections.abc import Mapping
from typing import Any

import jsonargparse

from lightning_coordconv.core.arguments import check_seed
from lightning_coordconv.core.data import BaseDataModule
from lightning_coordconv.runtime.errors import one_line

NAME = "num_classes"


def build_data(values: Mapping[str, Any]) -> BaseDataModule:
    """Return the data module that a configuration describes.

    Args:
        values: the configuration: ``data``, with ``class_path`` and ``init_args``, and perhaps ``seed_everything``.

    Raises:
        ValueError: if it describes no data.
    """
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--seed_everything", type=bool | int, default=0)
    parser.add_subclass_arguments(BaseDataModule, "data", required=True)
    parser.link_arguments("seed_everything", "data.init_args.seed", check_seed)
    try:
        config = parser.parse_object({key: values[key] for key in ("data", "seed_everything") if key in values})
    except jsonargparse.ArgumentError as error:
        raise ValueError(one_line(str(error))) from error
    data: BaseDataModule = parser.instantiate_classes(config).data
    return data


def share_num_classes(options: Any) -> None:
    """Give task and network the number of classes of the data, where it was not given.

    A number counts as given if it is not the default of the class. The data are built to ask for their number only if
    it is no option of theirs and is needed.

    Args:
        options: what the command line parsed for a subcommand; changed in place.

    Raises:
        ValueError: if a number that was given is not that option of the data.
    """
    model = options.model
    places = {"model": model, "model.net": getattr(model.get("init_args"), "net", None)}
    found = {name: place for name, place in places.items() if NAME in (getattr(place, "init_args", None) or {})}
    missing = [place for place in found.values() if place.init_args[NAME] == _default(place.class_path)]
    number = (options.data.get("init_args") or {}).get(NAME)
    if number is None and missing:
        number = _ask(options)
    if number is None:
        return
    for place in missing:
        place.init_args[NAME] = number
    for name, place in found.items():
        if NAME in options.data.init_args and place.init_args[NAME] != number:
            raise ValueError(
                f"--{name}.{NAME} is {place.init_args[NAME]}, but --data.{NAME} is {number}: give only that of the data"
            )


def _ask(options: Any) -> int | None:
    logging.disable(logging.INFO)  # the run builds the data once more, and says what it has to say then
    try:
        data = build_data({"data": options.data.as_dict(), "seed_everything": options.seed_everything})
    finally:
        logging.disable(logging.NOTSET)
    return getattr(data, NAME, None)


def _default(class_path: str) -> Any:
    module, _, name = class_path.rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    return parameters[NAME].default if NAME in parameters else inspect.Parameter.empty
