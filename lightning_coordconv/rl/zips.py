"""Functions that read a Stable-Baselines3 zip's weights and options, run no code in it, and compare two policies."""

import inspect
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn

from lightning_coordconv.core.checkpoints import read_state_dict, verify
from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.option_changes import Change, find_changes
from lightning_coordconv.rl._sb3 import had_normalizer

with extra("rl", "agents"):
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
    from stable_baselines3.common.save_util import data_to_json

FUNCTION = ("activation_fn", "normalize_images")
"""Arguments of a policy that change what it computes, and not the shapes of its weights."""
SHARED = "share_features_extractor"
"""Argument with which a policy has one extractor under the names of two: of two different ones it keeps the last."""
SPACES = {"action_space": ("dtype", "low", "high", "start"), "observation_space": ("dtype", "start", "spaces")}
"""What of spaces with the same weights can differ so that a policy takes or gives numbers of other meanings.

Bounds of observations have no effect, and those of Gymnasium's environments change from version to version.
"""
EXTRACTOR, OPTIONS = "features_extractor_class", "features_extractor_kwargs"


def read_zip(path: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights of a policy, and the algorithm's attributes in JSON; what is pickled among them stays text.

    Raises:
        ValueError: if the file is damaged, or its weights are not plain tensors.
        KeyError: if it is no zip of Stable-Baselines3.
        OSError: if it cannot be read.
    """
    verify(path)
    with zipfile.ZipFile(path) as archive:
        weights = read_state_dict(io.BytesIO(archive.read("policy.pth")))
        described = json.loads(archive.read("data")) if "data" in archive.namelist() else {}
    return weights, described if isinstance(described, dict) else {}


def actions_of(weights: Mapping[str, Tensor], described: Mapping[str, Any]) -> str | None:
    """Return how many actions a zip has, and of which kind of space; ``None`` where it does not say it."""
    head, space = weights.get("action_net.bias"), described.get("action_space")
    if head is None or not isinstance(space, Mapping) or ":type:" not in space:
        return None if head is None else f"{len(head)} actions"
    kind = str(space[":type:"]).rpartition(".")[2].rstrip("'>")
    return f"{len(head)} actions of {kind}{space.get('nvec', '')}"


def describe(algorithm: OnPolicyAlgorithm) -> dict[str, Any]:
    """Return what a zip of an algorithm would say of its spaces and of the arguments of its policy."""
    parts = {"policy_kwargs": algorithm.policy_kwargs} | {name: getattr(algorithm, name) for name in SPACES}
    found: dict[str, Any] = json.loads(data_to_json(parts))
    return found


def warn_of_other_functions(path: str, described: Mapping[str, Any], algorithm: OnPolicyAlgorithm) -> None:
    """Warn where the policy of a zip computed something else with the same weights, or saw other observations.

    Args:
        path: of the zip.
        described: the attributes that it holds.
        algorithm: the one that gets the weights.
    """
    if changes := list(_find_changes(described, algorithm)):
        rank_zero_warn(f"the policy of {path} was another function of its weights: {'; '.join(map(str, changes))}")
    if changes := list(_find_other_spaces(described, describe(algorithm))):
        rank_zero_warn(f"the policy of {path} was trained in other spaces: {'; '.join(map(str, changes))}")
    if had_normalizer(described):
        rank_zero_warn(
            f"the policy of {path} was trained with VecNormalize, whose means and deviations are not in the file: "
            "unless that scaled only rewards, the environment must normalise observations in the same way"
        )


def _find_changes(described: Mapping[str, Any], algorithm: OnPolicyAlgorithm) -> Iterator[Change]:
    """Yield the arguments of the policy that change what it computes, and not the shapes of its weights."""
    saved, own = described.get("policy_kwargs"), describe(algorithm)["policy_kwargs"]
    if not isinstance(saved, Mapping):
        return
    theirs, ours = (_texts(arguments, algorithm.policy_class) for arguments in (saved, own))
    extractor: Any = algorithm.policy.features_extractor
    names = [name for name in FUNCTION if name in ours] + [SHARED] * (ours[SHARED] == "True")
    names += [EXTRACTOR] * (not _computes_as(type(extractor), theirs[EXTRACTOR]))
    yield from find_changes({name: theirs[name] for name in names}, ours, "policy_kwargs")
    if ours[EXTRACTOR] == theirs[EXTRACTOR]:
        before, now = (_texts(arguments.get(OPTIONS) or {}, type(extractor)) for arguments in (saved, own))
        yield from find_changes(before, now, f"policy_kwargs.{OPTIONS}")


def _find_other_spaces(described: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[Change]:
    """Yield what of the actions and observations of a zip differs from those of an algorithm."""
    for name, parts in SPACES.items():
        saved = described.get(name)
        if isinstance(saved, Mapping):
            kept = parts if saved.get(":type:") == own[name][":type:"] else (":type:",)
            theirs, ours = ({key: " ".join(str(each.get(key)).split()) for key in kept} for each in (saved, own[name]))
            yield from find_changes(theirs, ours, name)


def _computes_as(kind: type[nn.Module], name: str) -> bool:
    """Return whether a class is that of a name, or is derived from it and keeps its ``forward``."""
    return any(str(base) == name and getattr(base, "forward", None) is kind.forward for base in kind.__mro__)


def _texts(arguments: Mapping[str, Any], kind: type) -> dict[str, str]:
    """Return the arguments of a class, with the defaults of those that are not given, as text."""
    defaults = {option.name: option.default for option in inspect.signature(kind).parameters.values()}
    values = {**defaults, **arguments}
    return {name: str(list(value) if isinstance(value, tuple) else value) for name, value in values.items()}
