"""Vectors of environments by id."""

import copy
import difflib
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecTransposeImage

from lightning_coordconv.rl.environments.ale import AleVecEnv
from lightning_coordconv.rl.environments.atari import LeanAtariVecEnv

Backend = Literal["sb3", "subproc", "lean", "ale"]
"""Where environments live: in this process as SB3 has them, each in a process of its own, in this process leaner
(:class:`LeanAtariVecEnv`), or in ALE's threads (:class:`AleVecEnv`); the last two are for Atari alone."""

ATARI = "ale_py.env:AtariEnv"


def find(env_id: str, backend: Backend, env_kwargs: Mapping[str, Any], wrapper_kwargs: Mapping[str, Any]) -> EnvSpec:
    """Return the specification of an environment, with the arguments that it is going to be made with.

    Args:
        env_id: as registered with Gymnasium; ``module:id`` imports a module that registers it first.
        backend: where the environments are to live.
        env_kwargs: arguments of the environment, beside its registered ones.
        wrapper_kwargs: arguments of SB3's ``AtariWrapper``.

    Raises:
        ValueError: if there is no such environment, the backend or the wrapper is not for it, or both it and the
            wrapper skip frames.
    """
    try:
        spec = copy.copy(gym.spec(env_id))
    except (gym.error.Error, ModuleNotFoundError) as error:
        raise ValueError(f"{error} {_installed(env_id)}") from error
    spec.kwargs = {**spec.kwargs, **env_kwargs}
    if spec.entry_point != ATARI:
        if backend in ("lean", "ale"):
            raise ValueError(
                f"backend {backend!r} is for Atari games alone, and {env_id} is none: take 'sb3' or 'subproc'"
            )
        if wrapper_kwargs:
            raise ValueError(f"wrapper_kwargs are for Atari games alone, and {env_id} is none")
    elif spec.kwargs["frameskip"] != 1 and wrapper_kwargs.get("frame_skip", 4) != 1:
        raise ValueError(
            f"{env_id} skips frames itself (frameskip {spec.kwargs['frameskip']}), and the wrapper would again: take "
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
    """Make a vector of environments that shows images (C, H, W), or whatever else they show.

    Args:
        spec: what :func:`find` returned.
        n_envs: how many.
        backend: where they live.
        n_stack: observations in one, the newest last.
        wrapper_kwargs: arguments of SB3's ``AtariWrapper``.
    """
    wrapper_kwargs = dict(wrapper_kwargs or {})
    if backend in ("lean", "ale"):
        others = {"frameskip", "num_threads"} if backend == "lean" else {"frameskip"}  # threads are ALE's alone
        game = {name: value for name, value in spec.kwargs.items() if name not in others}
        return (LeanAtariVecEnv if backend == "lean" else AleVecEnv)(n_envs, n_stack, **game, **wrapper_kwargs)
    vec_env_cls = SubprocVecEnv if backend == "subproc" else DummyVecEnv
    single = partial(_make, spec)
    if spec.entry_point == ATARI:
        env: VecEnv = make_atari_env(single, n_envs, wrapper_kwargs=wrapper_kwargs, vec_env_cls=vec_env_cls)
    else:
        env = make_vec_env(single, n_envs, vec_env_cls=vec_env_cls)
    if n_stack > 1:
        env = VecFrameStack(env, n_stack)
    space = env.observation_space
    channels_last = (
        isinstance(space, gym.spaces.Box) and is_image_space(space) and not is_image_space_channels_first(space)
    )
    return VecTransposeImage(env) if channels_last else env


def _make(spec: EnvSpec) -> gym.Env[Any, Any]:
    """Make one environment, which can be drawn if it knows how; not by name, which another process may not know."""
    try:
        return gym.make(spec, render_mode="rgb_array")
    except TypeError:
        return gym.make(spec)


def _legacy_name(spec: EnvSpec) -> str:
    return f"{spec.id.removeprefix('ALE/').partition('-')[0]}NoFrameskip-v4"


def _installed(env_id: str) -> str:
    games = sorted(name for name in gym.registry if name.endswith("NoFrameskip-v4"))
    close = difflib.get_close_matches(env_id, gym.registry, n=3)
    guess = f"Did you mean {' or '.join(close)}? " if close else ""
    names = ", ".join(name.removesuffix("NoFrameskip-v4") for name in games)
    return (
        f"{guess}Installed are {len(games)} Atari games, as <name>NoFrameskip-v4: {names}. For others install the "
        "package that registers them, and say <module>:<id>."
    )
