"""Adds the name of the environment to the errors that it raises, in this process or in another."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn


class EnvironmentCrashError(RuntimeError):
    """An environment raised an error, or its process ended; the error itself is the cause."""


@contextmanager
def named(env_id: str, what: str) -> Iterator[None]:
    """Turn errors within this context into one that says which environment failed at what.

    Args:
        env_id: the environment.
        what: such as ``"its reset"``.

    Raises:
        EnvironmentCrashError: in place of any error.
    """
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise EnvironmentCrashError(f"a process of the environment {env_id} ended during {what}") from error
    except EnvironmentCrashError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise EnvironmentCrashError(f"the environment {env_id} failed in {what}: {reason}") from error


class NamedVecEnv(VecEnvWrapper):
    """Environments whose errors name them.

    Args:
        venv: the environments.
        env_id: their name.
    """

    def __init__(self, venv: VecEnv, env_id: str) -> None:
        super().__init__(venv)
        self.env_id = env_id

    def reset(self) -> VecEnvObs:
        """Start new episodes."""
        with named(self.env_id, "its reset"):
            return self.venv.reset()

    def step_async(self, actions: Any) -> None:
        """Take actions."""
        with named(self.env_id, "a step"):
            self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Return what came of the actions."""
        with named(self.env_id, "a step"):
            return self.venv.step_wait()
