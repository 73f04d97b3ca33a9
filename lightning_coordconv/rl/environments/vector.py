"""Functions that find environments by id, check their arguments, make a vector of them, and tell its frame rate."""

import copy
import difflib
import importlib
import inspect
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any, Literal, get_args

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecTransposeImage

from lightning_coordconv.core.arguments import check_choice
from lightning_coordconv.core.worker_processes import leave_signals_to_parent
from lightning_coordconv.rl.environments.ale import AleVecEnv
from lightning_coordconv.rl.environments.atari import LeanAtariVecEnv
from lightning_coordconv.rl.environments.contract import CheckedEnv
from lightning_coordconv.rl.environments.crashes import InvalidEnvironmentError, NamedVecEnv, ReportedEnv, named
from lightning_coordconv.rl.environments.zero_based import zero_based
from lightning_coordconv.rl.ranges import POSITIVE, RANGES, check_ranges

Backend = Literal["sb3", "subproc", "lean", "ale"]
"""Where environments run: in this process with SB3's wrappers, each in its own process, in this process without the
wrappers (:class:`LeanAtariVecEnv`), or in ALE's threads (:class:`AleVecEnv`). The last two run only Atari games."""

ATARI = "ale_py.env:AtariEnv"
RENDERED = "rgb_array"
"""The render mode of all environments that have it."""


def find(env_id: str, backend: Backend, env_kwargs: Mapping[str, Any], wrapper_kwargs: Mapping[str, Any]) -> EnvSpec:
    """Return the specification of an environment, with the arguments that it will be made with.

    Args:
        env_id: as registered with Gymnasium; ``module:id`` first imports a module, which registers it.
        backend: where the environments will run.
        env_kwargs: arguments of the environment, which override the registered ones.
        wrapper_kwargs: arguments of SB3's ``AtariWrapper``.

    Raises:
        ValueError: if there is no such environment or argument, the backend or the wrapper does not support it, or
            both the environment and the wrapper skip frames.
    """
    check_choice("backend", backend, get_args(Backend))
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        spec = copy.copy(gym.spec(name))
    except (gym.error.Error, ModuleNotFoundError) as error:
        reason = str(error).partition(" Did you mean")[0].rstrip(".")  # Gymnasium's guess has no version
        way_out = (
            f"{module} was imported, and registers no {name}: it needs gymnasium.register({name!r}, ...)"
            if module in sys.modules
            else _installed(name)
        )
        raise ValueError(f"{reason}. {way_out}") from error
    spec.kwargs = {**spec.kwargs, **env_kwargs}
    _check_arguments(env_id, "env_kwargs", AleVecEnv if backend == "ale" else _creator(spec), env_kwargs)
    if env_kwargs.get("render_mode", RENDERED) != RENDERED:
        raise ValueError(
            f"env_kwargs must leave out render_mode, which is {RENDERED!r} for videos, got "
            f"{env_kwargs['render_mode']!r}"
        )
    if spec.entry_point != ATARI:
        if backend in ("lean", "ale"):
            raise ValueError(
                f"backend {backend!r} runs only Atari games, and {env_id} is not one: use 'sb3' or 'subproc'"
            )
        if wrapper_kwargs:
            raise ValueError(f"wrapper_kwargs apply only to Atari games, and {env_id} is not one")
        return spec
    _check_arguments("AtariWrapper", "wrapper_kwargs", AtariWrapper, wrapper_kwargs)
    check_ranges(**{name: value for name, value in {**env_kwargs, **wrapper_kwargs}.items() if name in RANGES})
    if spec.kwargs["frameskip"] != 1 and backend in ("lean", "ale"):
        raise ValueError(
            f"{env_id} skips frames itself (frameskip {spec.kwargs['frameskip']}), and backend {backend!r} only by "
            f"frame_skip of wrapper_kwargs: use {_legacy_name(spec)}, or set env_kwargs to {{frameskip: 1}}"
        )
    if spec.kwargs["frameskip"] != 1 and wrapper_kwargs.get("frame_skip", 4) != 1:
        raise ValueError(
            f"{env_id} skips frames itself (frameskip {spec.kwargs['frameskip']}), and so does the wrapper: use "
            f"{_legacy_name(spec)}, or set env_kwargs to {{frameskip: 1}}"
        )
    return spec


def make(
    spec: EnvSpec,
    n_envs: int,
    backend: Backend = "sb3",
    n_stack: int = 1,
    wrapper_kwargs: Mapping[str, Any] | None = None,
) -> VecEnv:
    """Make a vector of environments; images are observed as (C, H, W).

    Args:
        spec: the result of :func:`find`.
        n_envs: number of environments.
        backend: where they run.
        n_stack: observations that are stacked, the newest last.
        wrapper_kwargs: arguments of SB3's ``AtariWrapper``.

    Raises:
        EnvironmentCrashError: if an environment cannot be made; later also by the environments.
        InvalidEnvironmentError: for a space that no policy takes, or one that cannot be stacked.
    """
    with named(spec.id, "its construction"):
        return NamedVecEnv(_vector(spec, n_envs, backend, n_stack, dict(wrapper_kwargs or {})), spec.id)


def frames_per_second(spec: EnvSpec, env: VecEnv) -> float:
    """Return the speed at which an agent's observations are a film: the environment's ``render_fps``, or else 15.

    It is 15 for Atari games too, whose ``render_fps`` is 30: of 60 screens a second an agent sees every fourth.

    Args:
        spec: the result of :func:`find`.
        env: the result of :func:`make`, of whose environments the first is filmed.
    """
    fps = None if spec.entry_point == ATARI else (env.get_attr("metadata", 0)[0] or {}).get("render_fps")
    return fps if fps in POSITIVE else 15


def _vector(spec: EnvSpec, n_envs: int, backend: Backend, n_stack: int, wrapper_kwargs: dict[str, Any]) -> VecEnv:
    if backend in ("lean", "ale"):
        others = {"frameskip", "num_threads"} if backend == "lean" else {"frameskip"}  # only ALE has threads
        game = {name: value for name, value in spec.kwargs.items() if name not in others}
        return (LeanAtariVecEnv if backend == "lean" else AleVecEnv)(n_envs, n_stack, **game, **wrapper_kwargs)
    vec_env_cls = SubprocVecEnv if backend == "subproc" else DummyVecEnv
    single = partial(_make_reported if backend == "subproc" else _make, spec)
    if spec.entry_point == ATARI:
        env: VecEnv = make_atari_env(single, n_envs, wrapper_kwargs=wrapper_kwargs, vec_env_cls=vec_env_cls)
    else:
        env = make_vec_env(single, n_envs, vec_env_cls=vec_env_cls)
    if isinstance(env, SubprocVecEnv):
        Finalize(env, _hang_up, (env.remotes,), exitpriority=0)
    if n_stack > 1:
        _check_stackable(env, spec.id, n_stack)
        env = VecFrameStack(env, n_stack, _channels_order(env.observation_space))
    channels_last = any(
        is_image_space(part) and not is_image_space_channels_first(part) for part in _parts(env.observation_space)
    )
    return VecTransposeImage(env) if channels_last else env


def _parts(space: Any) -> Iterable[Any]:
    return space.values() if isinstance(space, gym.spaces.Dict) else (space,)


def _channels_order(space: Any) -> Any:
    """Return on which axis frames are stacked: channels, the shortest of three, whatever numbers an image has."""
    if isinstance(space, gym.spaces.Dict):
        return {name: _channels_order(part) for name, part in space.items()}
    return "first" if len(space.shape) == 3 and is_image_space_channels_first(space) else "last"


def _check_stackable(env: VecEnv, env_id: str, n_stack: int) -> None:
    for part in _parts(env.observation_space):
        if not isinstance(part, gym.spaces.Box):
            env.close()
            raise InvalidEnvironmentError(
                f"frame_stack must be 1 for the environment {env_id}: only a Box can be stacked, and its observation "
                f"space has {part}"
            )
        if is_image_space(part):  # whose channels SB3 takes for the shortest axis, the first of several
            channels = 0 if is_image_space_channels_first(part) else 2
            shape = [size * n_stack if axis == channels else size for axis, size in enumerate(part.shape)]
            if shape.index(min(shape)) != channels:
                env.close()
                raise InvalidEnvironmentError(
                    f"frame_stack must be less for the environment {env_id}, got {n_stack}: images of shape "
                    f"{part.shape} would become {tuple(shape)}, of which Stable-Baselines3 takes axis "
                    f"{shape.index(min(shape))} for the channels"
                )


def _make(spec: EnvSpec) -> gym.Env[Any, Any]:
    """Make one environment, which renders images if it can; by its specification, since processes may lack its id."""
    if RENDERED in getattr(_creator(spec), "metadata", {}).get("render_modes", ()):
        return _rendering(spec) or _checked(spec)
    env = _checked(spec)  # has other modes than its class, or is made by a function, which has none
    if env.render_mode is not None or RENDERED not in (env.metadata.get("render_modes") or ()):
        return env
    rendering = _rendering(spec)
    if rendering is None:
        return env
    env.close()
    return rendering


def _rendering(spec: EnvSpec) -> gym.Env[Any, Any] | None:
    """Make one environment that renders images; return ``None`` if what makes it has no such argument."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*that is not in the possible render_modes")
            return _checked(spec, render_mode=RENDERED)
    except TypeError:
        return None


def _make_reported(spec: EnvSpec) -> gym.Env[Any, Any]:
    leave_signals_to_parent()  # this is the process of one environment
    return ReportedEnv(_make(spec))


def _hang_up(remotes: Sequence[Connection]) -> None:
    """Close the pipes to processes, which ends them; multiprocessing would wait for those that take no signal."""
    for remote in remotes:
        remote.close()


def _checked(spec: EnvSpec, **arguments: Any) -> gym.Env[Any, Any]:
    return zero_based(CheckedEnv(gym.make(spec, disable_env_checker=True, **arguments), spec.id))


def _creator(spec: EnvSpec) -> Any:
    return load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point


def _check_arguments(what: str, option: str, function: Any, arguments: Mapping[str, Any]) -> None:
    parameters = inspect.signature(function).parameters
    unknown = sorted(arguments.keys() - parameters.keys())
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        raise ValueError(f"{what} has no argument {unknown[0]!r}, given in {option}; it has {', '.join(parameters)}")


def _legacy_name(spec: EnvSpec) -> str:
    return f"{spec.id.removeprefix('ALE/').partition('-')[0]}NoFrameskip-v4"


def _installed(env_id: str) -> str:
    games = sorted(name for name in gym.registry if name.endswith("NoFrameskip-v4"))
    close = difflib.get_close_matches(env_id, gym.registry, n=3)
    guess = f"Did you mean {' or '.join(close)}? " if close else ""
    names = ", ".join(name.removesuffix("NoFrameskip-v4") for name in games)
    listed = f": {names}" if "NoFrameskip" in env_id or env_id.startswith("ALE/") else ""
    return (
        f"{guess}For an environment of another package, or of a module in the current folder, write <module>:<id>, "
        f"where <module> registers it. {len(games)} Atari games are installed, as <name>NoFrameskip-v4{listed}."
    )
