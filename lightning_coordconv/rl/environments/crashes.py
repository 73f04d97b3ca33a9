"""Wrappers, exceptions and a context manager that report an environment's errors by its name, also from processes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

INVALID, FAILED = "environment_invalid", "environment_failed"
"""Keys of an info, under which a process reports an error of its environment."""

FAILURES = (Exception, SystemExit)
"""What counts as an error: a game that calls ``sys.exit`` in a step must not end the run as if it were complete."""

TEMPFAIL = 75
"""Exit code of a run that a signal has asked to stop, which may come while an environment is at work."""


class EnvironmentCrashError(RuntimeError):
    """An environment raised an error, or its process ended; the error itself is the cause."""


class InvalidEnvironmentError(ValueError):
    """An environment returned a value that is not in its spaces, or that Gymnasium's interface does not allow."""


@contextmanager
def named(env_id: str, what: str) -> Iterator[None]:
    """Turn errors within this context into one that says which environment failed at what.

    Args:
        env_id: the environment.
        what: such as ``"its reset"``.

    Raises:
        InvalidEnvironmentError: as it is; it names the environment already.
        EnvironmentCrashError: in place of any other error.
    """
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise EnvironmentCrashError(f"a process of the environment {env_id} ended during {what}") from error
    except (EnvironmentCrashError, InvalidEnvironmentError):
        raise
    except FAILURES as error:
        if isinstance(error, SystemExit) and error.code == TEMPFAIL:
            raise
        # contextlib takes a RuntimeError whose cause is a StopIteration for an error of its generator
        cause = None if isinstance(error, StopIteration) else error
        raise EnvironmentCrashError(f"the environment {env_id} failed in {what}: {_reason(error)}") from cause


class ReportedEnv(gym.Wrapper[Any, Any, Any, Any]):
    """An environment in a separate process, which reports its errors instead of ending with them."""

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """Start a new episode."""
        try:
            return self.env.reset(**arguments)
        except FAILURES as error:
            return self.observation_space.sample(), _report(error)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take an action."""
        try:
            return self.env.step(action)
        except FAILURES as error:
            return self.observation_space.sample(), 0.0, False, False, _report(error)

    def render(self) -> Any:
        """Return an image or, if the environment cannot be drawn, the reason."""
        try:
            return self.env.render()
        except FAILURES as error:
            return _reason(error)


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
            observations = self.venv.reset()
        self._raise_reported(self.unwrapped.reset_infos, "its reset")
        return observations

    def step_async(self, actions: Any) -> None:
        """Take actions."""
        with named(self.env_id, "a step"):
            self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Return what came of the actions."""
        with named(self.env_id, "a step"):
            results = self.venv.step_wait()
        self._raise_reported(results[3], "a step")
        if results[2].any():
            self._raise_reported(self.unwrapped.reset_infos, "its reset")
        return results

    def _raise_reported(self, infos: Sequence[Mapping[str, Any]], what: str) -> None:
        for info in infos:
            if INVALID in info:
                raise InvalidEnvironmentError(info[INVALID])
            if FAILED in info:
                raise EnvironmentCrashError(f"the environment {self.env_id} failed in {what}: {info[FAILED]}")


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _report(error: BaseException) -> dict[str, str]:
    return {INVALID: str(error)} if isinstance(error, InvalidEnvironmentError) else {FAILED: _reason(error)}
