"""Functions that encode spaces of observations and actions as plain data for checkpoints, decode and compare them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.state_codec import decode_state, encode_state

with extra("rl", "agents"):
    from gymnasium import spaces

Space = spaces.Space[Any]
ARGUMENTS: dict[type[Space], tuple[str, ...]] = {
    spaces.Box: ("low", "high", "shape", "dtype"),
    spaces.Discrete: ("n", "start"),
    spaces.MultiDiscrete: ("nvec", "start"),
    spaces.MultiBinary: ("n",),
}
"""The constructor arguments of each kind of space that A2C and PPO of Stable-Baselines3 support, except ``Dict``."""


def encode_space(space: Space) -> dict[str, Any]:
    """Return the name of a space's class and its constructor arguments, as tensors and numbers.

    Raises:
        ValueError: for a space of another kind.
    """
    if isinstance(space, spaces.Dict):
        return {"kind": "Dict", "spaces": [[name, encode_space(inner)] for name, inner in space.spaces.items()]}
    kind = next((kind for kind in ARGUMENTS if isinstance(space, kind)), None)
    if kind is None:
        known: list[type[Space]] = [*ARGUMENTS, spaces.Dict]
        names = ", ".join(each.__name__ for each in known)
        raise ValueError(f"agents support spaces of the kinds {names}, got {space}")
    values = {name: getattr(space, name) for name in ARGUMENTS[kind]}
    if kind is spaces.Box:
        values["dtype"] = str(space.dtype)
    return {"kind": kind.__name__, **encode_state(values)}


def decode_space(plain: dict[str, Any]) -> Space:
    """Undo :func:`encode_space`."""
    if plain["kind"] == "Dict":
        return spaces.Dict([(name, decode_space(inner)) for name, inner in plain["spaces"]])
    arguments = decode_state(plain)
    kinds = {kind.__name__: kind for kind in ARGUMENTS}
    return kinds[arguments.pop("kind")](**arguments)


def check_same_spaces(policy: tuple[Space, Space], environment: tuple[Space, Space]) -> None:
    """Refuse observations and actions of an environment that are not those that a policy was trained for.

    Raises:
        ValueError: naming both spaces.
    """
    for theirs, ours in zip(policy, environment, strict=True):
        if theirs != ours:
            raise ValueError(f"the checkpoint's policy is for {theirs}, but the environment's space is {ours}")


def check_observation(space: Space, observation: Any) -> None:
    """Refuse what a policy would take for an observation although its space has no such numbers.

    These are floating-point numbers for integers, as images in [0, 1] for images in [0, 255], numbers outside of all
    bounds of a ``Box``, and numbers that are not finite. Axes are not compared: an observation can be one of several,
    and have channels first or last.

    Raises:
        ValueError: naming the number or its dtype, and the space.
    """
    if isinstance(space, spaces.Dict) and isinstance(observation, Mapping):
        for name in space.spaces.keys() & observation.keys():
            check_observation(space.spaces[name], observation[name])
        return
    given = np.asarray(observation)
    if np.issubdtype(space.dtype, np.integer) and given.dtype.kind == "f":
        raise ValueError(f"an observation must have numbers of {space.dtype}, as {space} has them, got {given.dtype}")
    if isinstance(space, spaces.Box) and given.dtype.kind in "biuf":
        inside = np.isfinite(given) & (given >= space.low.min()) & (given <= space.high.max())
        if not inside.all():
            raise ValueError(f"an observation must have finite numbers of {space}, got {given[~inside][0]}")
