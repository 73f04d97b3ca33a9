"""Wrapper that refuses environments' invalid spaces and results; functions that warn of ranges and statistics."""

import copy
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, NamedTuple, NoReturn

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import NormalizeObservation, NormalizeReward
from numpy.typing import NDArray
from pytorch_lightning.utilities import rank_zero_warn
from stable_baselines3.common.vec_env import VecEnv

from lightning_coordconv.rl.environments.crashes import InvalidEnvironmentError

Space = spaces.Space[Any]
LARGEST = float(np.finfo(np.float32).max)
"""Largest reward: rollouts store single precision."""
BOOLEANS = (bool, np.bool_)
ARRAYS = (spaces.MultiBinary, spaces.MultiDiscrete)
NUMBERS = (float, Real, np.bool_)


class CheckedEnv(gym.Wrapper[Any, Any, Any, Any]):
    """Checks each observation, reward and end of an episode, in place of Gymnasium's checker, which only warns.

    An observation must have the shape of its space, a dtype whose numbers the space's can hold to rounding, and values
    within the space; a reward must be one finite number, and the two ends ``bool``. On one thread a step takes 4 to 5
    microseconds longer for a vector of four numbers, and 1 for an image of 8 bits.

    The last observation of an episode is a copy, and so is each info: Stable-Baselines3 keeps both while it resets the
    environment, which may write its next observation into the same memory.

    Args:
        env: the environment.
        env_id: its name, for errors.

    Raises:
        InvalidEnvironmentError: naming the environment, the step, the value and the space; when it is made, for a space
            that no policy of Stable-Baselines3 takes: of another kind, such as ``Text``, of a ``MultiDiscrete`` of
            several axes, of arrays without an axis or without an element, or of actions in a ``Box`` of integers.
    """

    def __init__(self, env: gym.Env[Any, Any], env_id: str) -> None:
        super().__init__(env)
        self._env_id = env_id
        self._steps = 0
        for kind, space in (("observation", env.observation_space), ("action", env.action_space)):
            for name, part, _ in _parts(space):
                fault = _fault_of_space(part) or (_fault_of_actions(part) if kind == "action" else None)
                if fault:
                    raise InvalidEnvironmentError(
                        f"the environment {env_id} has the {kind} space {_one_line(part)}{_called(name)}, and agents "
                        f"{fault}"
                    )
        self._parts = list(_parts(env.observation_space))

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Return the first observation, if it is valid."""
        self._steps = 0
        result: Any = self.env.reset(**arguments)
        if not isinstance(result, tuple) or len(result) != 2:
            self._refuse("result", f"{_shown(result)}, and a tuple of an observation and a dict is expected")
        self._check_observation(result[0])
        return result

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take an action and return its results, if they are valid."""
        self._steps += 1
        result: Any = self.env.step(action)
        if not isinstance(result, tuple) or len(result) != 5:
            self._refuse(
                "result", f"{_shown(result)}, and a tuple of observation, reward, terminated, truncated and info "
                "is expected"
            )  # fmt: skip
        observation, reward, terminated, truncated, info = result
        self._check_observation(observation)
        if not isinstance(reward, NUMBERS) or not -LARGEST <= reward <= LARGEST:  # type: ignore[operator]  # numbers.Real
            self._refuse("reward", f"{_shown(reward)}, and a finite number in single precision is expected")
        if not isinstance(terminated, BOOLEANS) or not isinstance(truncated, BOOLEANS):
            name, value = ("truncated", truncated) if isinstance(terminated, BOOLEANS) else ("terminated", terminated)
            self._refuse(f"value of {name}", f"{_shown(value)}, and True or False is expected")
        if not isinstance(info, dict):
            self._refuse("info", f"{_shown(info)}, and a dict is expected")
        info = dict(info)
        info.pop("episode", None)  # under this key Stable-Baselines3's monitor, outside of this, reports an episode
        if terminated or truncated:
            observation = copy.deepcopy(observation)
        return observation, reward, terminated, truncated, info

    def _check_observation(self, observation: Any) -> None:
        for name, space, limits in self._parts:
            value = observation
            for key in name:
                if not isinstance(value, Mapping) or key not in value:
                    self._refuse("observation", f"{_shown(value)}, without {key!r} of its space {self._space()}")
                value = value[key]
            fault = _fault_of_array(value, limits) if limits else _fault_of_other(value, space)
            if fault:
                self._refuse(f"observation{_called(name)}", f"{fault}; its space is {_one_line(space)}")

    def _space(self) -> str:
        return _one_line(self.env.observation_space)

    def _refuse(self, what: str, reason: str) -> NoReturn:
        when = f"step {self._steps} of an episode" if self._steps else "its reset"
        raise InvalidEnvironmentError(f"the environment {self._env_id} returned an invalid {what} in {when}: {reason}")


class Limits(NamedTuple):
    """What a ``Box`` allows; its properties cost as much as the comparisons.

    Attributes:
        low: smallest values; None if the dtype has no smaller ones.
        high: largest values, likewise.
        shape: of the space.
        dtype: of the space.
        infinite: whether a limit is infinite, so that a value within them can be so too.
    """

    low: NDArray[Any] | None
    high: NDArray[Any] | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    infinite: bool


def _parts(space: Space, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Space, Limits | None]]:
    """Yield the spaces in nested dicts, with their keys and, of a ``Box``, the limits."""
    if isinstance(space, spaces.Dict):
        for key, entry in space.items():
            yield from _parts(entry, (*name, key))
    elif isinstance(space, spaces.Box):
        low, high, dtype = space.low, space.high, np.dtype(space.dtype)
        whole = dtype.kind in "iu" and (low == np.iinfo(dtype).min).all() and (high == np.iinfo(dtype).max).all()
        infinite = dtype.kind == "f" and not bool(np.isfinite(low).all() and np.isfinite(high).all())
        yield name, space, Limits(None if whole else low, None if whole else high, space.shape, dtype, infinite)
    else:
        yield name, space, None


def _fault_of_space(space: Space) -> str | None:
    """Return what agents need in place of a space; None if they can use it."""
    if not isinstance(space, (spaces.Box, spaces.Discrete, *ARRAYS)):
        return "need Box, Discrete, MultiDiscrete or MultiBinary: leave it out, or encode it in one of them"
    if isinstance(space, (spaces.Box, *ARRAYS)) and not np.prod(space.shape or (0,)):
        return (
            f"need at least one axis and one element, but its shape is {space.shape}: reshape it, as with "
            "gymnasium.wrappers.ReshapeObservation"
        )
    if isinstance(space, spaces.MultiDiscrete) and len(space.shape) > 1:
        return f"need a MultiDiscrete of one axis, but its shape is {space.shape}: flatten it"
    return None


def _fault_of_actions(space: Space) -> str | None:
    """Return what agents need in place of a space of actions; None if they can act in it."""
    if isinstance(space, spaces.Box) and np.dtype(space.dtype).kind != "f":
        return f"act in a Box with fractions, but its dtype is {space.dtype}: use MultiDiscrete, or a Box of float32"
    return None


def report_far_actions(space: Space, env_id: str) -> None:
    """Warn of actions in a ``Box`` that lies on one side of 0, around which a new policy draws them.

    Stable-Baselines3 cuts what is drawn at the bounds, so that most actions would be the nearest bound.
    """
    if isinstance(space, spaces.Box) and bool(((space.low > 0) | (space.high < 0)).any()):
        rank_zero_warn(
            f"the environment {env_id} has the action space {_one_line(space)}, which lies on one side of 0: a policy "
            "draws actions around 0, of which most would be cut to the bound; rescale them, as with "
            "gymnasium.wrappers.RescaleAction"
        )


def report_statistics(env: VecEnv, env_id: str) -> None:
    """Warn of an environment that normalises by statistics of its steps, which each copy of it collects for itself.

    Those of the training environments are not those of evaluation, whose observations and rewards are others then.
    """
    for wrapper in (NormalizeObservation, NormalizeReward):
        if any(env.env_is_wrapped(wrapper)):
            rank_zero_warn(
                f"the environment {env_id} has the wrapper {wrapper.__name__}, and each copy of it collects its own "
                "statistics: evaluation begins without those of training, so its rewards say little; scale by "
                "fixed numbers, as with gymnasium.wrappers.TransformObservation and TransformReward"
            )


def _fault_of_array(value: Any, limits: Limits) -> str | None:
    """Return what is wrong with an observation of a ``Box``; None if nothing is."""
    array = value if type(value) is np.ndarray else np.asarray(value)
    numbers = array
    if array.dtype != limits.dtype:
        if not np.can_cast(array.dtype, limits.dtype, "same_kind"):
            return f"{_shown(value)} of type {array.dtype if array.dtype != object else type(value).__name__}"
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused
            numbers = array.astype(limits.dtype)
        if limits.dtype.kind in "iu" and not (same := numbers == array).all():  # integers begin anew
            return _outside(array, same)
    if array.shape != limits.shape:
        return f"{_shown(value)} of shape {array.shape}"
    if limits.low is None or limits.high is None:
        return None
    inside = numbers >= limits.low
    inside &= numbers <= limits.high
    if limits.infinite:
        inside &= np.isfinite(numbers)
    return None if np.count_nonzero(inside) == inside.size else _outside(array, inside)


def _fault_of_other(value: Any, space: Space) -> str | None:
    """Return what is wrong with an observation of another space; None if nothing is."""
    if isinstance(space, ARRAYS) and np.asarray(value).dtype.kind not in "biu":
        return _shown(value)
    return None if space.contains(value) else _shown(value)


def _outside(array: NDArray[Any], inside: NDArray[np.bool_]) -> str:
    place = tuple(int(index) for index in np.argwhere(~inside)[0])
    return f"{array[place].item()!r} at {list(place)}"


def _shown(value: Any) -> str:
    text = _one_line(repr(value))
    return text if len(text) <= 100 else f"{text[:97]}..."


def _one_line(value: object) -> str:
    return " ".join(str(value).split())


def _called(name: tuple[str, ...]) -> str:
    return "".join(f"[{key!r}]" for key in name)
