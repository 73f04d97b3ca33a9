"""The classes that arguments of SB3's policies may name."""

import importlib
import sys
from typing import Any, TypedDict

import torch
from torch import nn

from lightning_coordconv.core.extras import extra

with extra("rl", "agents"):
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor


class PolicyArguments(TypedDict, total=False):
    """Arguments of SB3's ``ActorCriticPolicy``. In a configuration, classes are given by their dotted names."""

    net_arch: list[int] | dict[str, list[int]]
    activation_fn: type[nn.Module]
    ortho_init: bool
    log_std_init: float
    full_std: bool
    use_expln: bool
    squash_output: bool
    features_extractor_class: type[BaseFeaturesExtractor]
    features_extractor_kwargs: dict[str, Any]
    share_features_extractor: bool
    normalize_images: bool
    optimizer_class: type[torch.optim.Optimizer]
    optimizer_kwargs: dict[str, Any]


BASES: dict[str, type] = {
    "activation_fn": nn.Module,
    "features_extractor_class": BaseFeaturesExtractor,
    "optimizer_class": torch.optim.Optimizer,
}
"""The arguments that are classes, and what SB3 declares each to be a subclass of."""
IMPORTABLE = ("lightning_coordconv", "torch", "stable_baselines3")


def resolve_classes(arguments: PolicyArguments | None) -> dict[str, Any]:
    """Return policy arguments in which the names of classes are replaced by the classes.

    Names come from checkpoints, which can be a stranger's; a configuration's names are classes already. So a name is
    accepted only if it is a subclass of what SB3 declares, in a module that is already imported or belongs to this
    package, torch or SB3. Nothing else is imported, and nothing is called.

    Raises:
        ValueError: for an unknown argument, or a class that is not accepted.
    """
    resolved: dict[str, Any] = dict(arguments or {})
    unknown = resolved.keys() - PolicyArguments.__annotations__.keys()
    if unknown:
        known = ", ".join(PolicyArguments.__annotations__)
        raise ValueError(f"policy_kwargs has no argument {sorted(unknown)[0]!r}; it has {known}")
    for key in resolved.keys() & BASES.keys():
        resolved[key] = resolve_class(resolved[key], BASES[key], f"policy_kwargs.{key}")
    return resolved


def class_names(arguments: PolicyArguments | None) -> dict[str, Any]:
    """Return policy arguments in which classes are replaced by their dotted names, which a checkpoint can hold."""
    return {
        key: f"{value.__module__}.{value.__qualname__}" if isinstance(value, type) else value
        for key, value in (arguments or {}).items()
    }


def resolve_class(name: str | type, base: type, key: str) -> type:
    """Return the class that a dotted name stands for, if it is a subclass of ``base``; see :func:`resolve_classes`."""
    found: Any = name
    if isinstance(name, str):
        parts = name.split(".")
        modules = (".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
        module = next((module for module in modules if _may_import(module)), "")
        found = sys.modules.get(module)
        for part in parts[module.count(".") + 1 :]:
            found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, base):
        return found
    raise ValueError(
        f"{key}: {name!r} is not the dotted name of a subclass of {base.__module__}.{base.__qualname__}, in a module "
        f"that is already imported or belongs to {', '.join(IMPORTABLE)}"
    )


def _may_import(module: str) -> bool:
    """Import a module of the packages that may be imported, and say whether it is there."""
    if module not in sys.modules and module.partition(".")[0] in IMPORTABLE:
        try:
            importlib.import_module(module)
        except ImportError:
            return False
    return module in sys.modules
