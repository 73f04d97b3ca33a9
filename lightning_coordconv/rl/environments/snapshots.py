"""Functions that save the state of environments as plain data, and restore it exactly in another process.

The whole graph of Python objects behind a vector of environments is saved: attributes, slots and containers with their
shared references and cycles, arrays with their shared memory, random generators with the count of those that they
spawned, the emulators of Atari games, and what the environments' code uses that lies in classes, in functions (defaults
of arguments and variables around them, too) and in modules, its own and others that it imports. What cannot be saved so
that the future is the same is refused with :class:`NoSnapshotError`, wherever it lies: open files, locks, C objects,
iterators, and code that draws from a global random generator.

A snapshot is data. When it is restored, no class or module is imported because of it: an object takes the place of its
counterpart in the new environments, or is an instance of a class in a package that these environments come from.

Of modules in installed packages that no environment comes from, only variables are saved that functions in the same
module use, and that hold a container, an array, a tensor, a random generator or an object of such a package.

Not seen are: the order in which a set that grew and shrank is iterated, where it is the same after a copy and differs
later; what an environment writes on its ``spec`` or on spaces of Gymnasium; memory that C code shares; other state of
such packages, of files, of ``os.environ`` and of the clock; and what the code reaches by metaclasses, ``globals()`` and
``sys.modules``, or keeps in mutable results of ``functools.lru_cache``.
"""

from typing import Any

from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper

from lightning_coordconv.rl.environments.atari import LeanAtariVecEnv
from lightning_coordconv.rl.environments.object_decoder import Decoder
from lightning_coordconv.rl.environments.object_encoder import Encoder, NoSnapshotError
from lightning_coordconv.rl.environments.outside_state import Outside

__all__ = ["NoSnapshotError", "restore", "snapshot"]


def snapshot(env: VecEnv, *others: VecEnv) -> dict[str, Any]:
    """Return the state of environments in this process, as tensors, numbers, strings, lists, tuples and dicts.

    Args:
        env: wrappers around a ``DummyVecEnv`` or a :class:`LeanAtariVecEnv`.
        others: the same; what they share with the first stays shared.

    Raises:
        NoSnapshotError: for environments in other processes or in C++, and for state that cannot be saved.
    """
    for each in (env, *others):
        _check(each)
    outside = Outside(env)
    encoder = Encoder(outside)
    try:
        root, *more = [encoder.value(each, "") for each in (env, *others)]
        classes, modules, functions = outside.encode(encoder)
    except RecursionError as error:
        raise NoSnapshotError("the environments' objects are nested too deeply to be saved") from error
    outer = {"classes": classes, "modules": modules, "functions": functions}
    return {"root": root, "others": more, "nodes": encoder.nodes, **outer}


def restore(env: VecEnv, state: dict[str, Any], *others: VecEnv) -> None:
    """Put environments into the state that :func:`snapshot` returned for some of the same kind.

    Args:
        env: the first.
        state: of the first, and of others or none.
        others: are left as they are if the state does not hold any.

    Raises:
        NoSnapshotError: if they are of another kind; they must be reset then.
    """
    outside = Outside(env)
    finder = Encoder(outside)
    for each in (env, *others):
        _check(each)
        finder.value(each, "")  # finds the classes and functions of these environments
    try:
        decoder = Decoder(state["nodes"], outside.packages)
        decoder.value(state["root"], env, "")
        for root, other in zip(state.get("others", ()), others, strict=False):  # older checkpoints have none
            decoder.value(root, other, "")
        outside.decode(decoder, state["classes"], state["modules"], state["functions"])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, NoSnapshotError):
            raise
        raise NoSnapshotError(f"the saved state does not fit these environments: {error}") from error


def _check(env: VecEnv) -> None:
    while isinstance(env, VecEnvWrapper):
        env = env.venv
    if not isinstance(env, DummyVecEnv | LeanAtariVecEnv):
        raise NoSnapshotError(f"a {type(env).__name__} does not give access to the state of its environments")
