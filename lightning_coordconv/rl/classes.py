"""Type of Stable-Baselines3's ``policy_kwargs``, and functions that convert class names in it and back."""

from collections.abc import Mapping
from typing import Any, TypedDict

import torch
from torch import nn

from lightning_coordconv.core.checked import check_type, check_types
from lightning_coordconv.core.checkpoints import resolve_class
from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.hyperparameters import members_of
from lightning_coordconv.core.plain_data import copy_plain

with extra("rl", "agents"):
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor


class PolicyArguments(TypedDict, total=False):
    """Arguments of SB3's ``ActorCriticPolicy``. In a configuration, classes are given by their dotted names.

    Those that only state-dependent exploration reads are left out: the tasks explore without it.
    """

    net_arch: list[int] | dict[str, list[int]]
    activation_fn: type[nn.Module]
    ortho_init: bool
    log_std_init: float
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


def resolve_classes(arguments: PolicyArguments | None) -> dict[str, Any]:
    """Return policy arguments in which the names of classes are replaced by the classes.

    Names come from checkpoints, which can be a stranger's; those of a configuration are classes already. So a name is
    accepted only if it is a subclass of what SB3 declares, in a module that is already imported or belongs to a package
    that checkpoints may name. Nothing else is imported, and nothing is called.

    Raises:
        ValueError: for an unknown argument, one of a wrong type, or a class that is not accepted.
    """
    resolved = {key: copy_plain(value) for key, value in (arguments or {}).items()}
    unknown = resolved.keys() - PolicyArguments.__annotations__.keys()
    if unknown:
        known = ", ".join(PolicyArguments.__annotations__)
        raise ValueError(f"policy_kwargs has no argument {sorted(unknown)[0]!r}; it has {known}")
    sizes = resolved.get("net_arch")
    if isinstance(sizes, Mapping) and (others := sizes.keys() - {"pi", "vf"}):  # which SB3 ignores
        raise ValueError(
            "policy_kwargs.net_arch has the keys pi, of the actor, and vf, of the critic, got "
            f"{sorted(map(str, others))[0]!r}"
        )
    for key in resolved.keys() & BASES.keys():
        resolved[key] = resolve_class(resolved[key], BASES[key], f"policy_kwargs.{key}")
    for key, value in resolved.items():
        check_type(f"policy_kwargs.{key}", value, tuple(members_of(PolicyArguments.__annotations__[key])))
    for part in ("features_extractor", "optimizer"):
        if f"{part}_class" in resolved:
            given = resolved.get(f"{part}_kwargs") or {}
            check_types(resolved[f"{part}_class"], given, f"policy_kwargs.{part}_kwargs.")
    return resolved


def class_names(arguments: PolicyArguments | None) -> dict[str, Any]:
    """Return policy arguments in which classes are replaced by their dotted names, which a checkpoint can hold."""
    return {
        key: f"{value.__module__}.{value.__qualname__}" if isinstance(value, type) else copy_plain(value)
        for key, value in (arguments or {}).items()
    }
