"""Spaces of observations and actions as plain data, so that a checkpoint knows what its policy is for."""

from typing import Any

from lightning_coordconv.core.extras import extra
from lightning_coordconv.core.state_codec import decode_state, encode_state

with extra("rl", "agents"):
    from gymnasium import spaces

Space = spaces.Space[Any]
ARGUMENTS: dict[type[Space], tuple[str, ...]] = {
    spaces.Box: ("low", "high", "shape", "dtype"),
    spaces.Discrete: ("n", "start"),
    spaces.MultiDiscrete: ("nvec",),
    spaces.MultiBinary: ("n",),
}
"""What each kind of space is made from: those that A2C and PPO of Stable-Baselines3 act in."""


def encode_space(space: Space) -> dict[str, Any]:
    """Return the name of a space's class and the arguments that make it, as tensors and numbers.

    Raises:
        ValueError: for a space of another kind.
    """
    if type(space) not in ARGUMENTS:
        raise ValueError(
            f"{space} is a space of no kind that agents here know: {[kind.__name__ for kind in ARGUMENTS]}"
        )
    values = {name: getattr(space, name) for name in ARGUMENTS[type(space)]}
    if isinstance(space, spaces.Box):
        values["dtype"] = str(space.dtype)
    return {"kind": type(space).__name__, **encode_state(values)}


def decode_space(plain: dict[str, Any]) -> Space:
    """Undo :func:`encode_space`."""
    arguments = decode_state(plain)
    kinds = {kind.__name__: kind for kind in ARGUMENTS}
    return kinds[arguments.pop("kind")](**arguments)
