"""Atari games in ALE's own threads: the fastest, and not quite the same environment as SB3's."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from ale_py.vector_env import AtariVectorEnv
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from lightning_coordconv.rl.environments.frame_stack import Frame, FrameStack


class AleVecEnv(VecEnv):
    """ale-py's ``AtariVectorEnv`` with the interface of SB3, and most of its meaning.

    As with SB3's wrappers, rewards are clipped to their sign, a lost life ends the episode while the game goes on, the
    stack of frames starts from zeros, and an ended game tells its score. What differs: an episode starts with 0 to 29
    steps without action, not 1 to 30; FIRE is pressed once, before them, and never after a lost life, so an agent must
    learn to; the two last screens are turned grey before their maximum is taken, not after, so some pixels differ. Its
    state can't be saved. Curves of the two are not to be compared.

    Args:
        n_envs: number of games.
        n_stack: frames in an observation.
        game: name of the ROM, such as ``"ms_pacman"``.
        num_threads: of the emulators; one a game, at most one a core, if 0.
        noop_max: an episode starts with fewer steps without action than these.
        frame_skip: screens a step.
        screen_size: height and width of a frame in pixels.
        terminal_on_life_loss: whether a lost life ends the episode.
        clip_reward: to its sign.
        **game_arguments: more of ``AtariVectorEnv``.
    """

    def __init__(
        self,
        n_envs: int,
        n_stack: int = 4,
        *,
        game: str,
        num_threads: int = 0,
        noop_max: int = 30,
        frame_skip: int = 4,
        screen_size: int = 84,
        terminal_on_life_loss: bool = True,
        clip_reward: bool = True,
        **game_arguments: Any,
    ) -> None:
        self.games = AtariVectorEnv(
            game,
            n_envs,
            num_threads=num_threads,
            autoreset_mode=gym.vector.AutoresetMode.SAME_STEP,
            img_height=screen_size,
            img_width=screen_size,
            stack_num=1,
            frameskip=frame_skip,
            noop_max=noop_max,
            reward_clipping=False,
            **game_arguments,
        )
        self.terminal_on_life_loss = terminal_on_life_loss
        self.clip_reward = clip_reward
        self.stack = FrameStack(n_envs, n_stack, screen_size)
        self.lives = np.zeros(n_envs, np.int32)
        self.scores, self.lengths = np.zeros(n_envs), np.zeros(n_envs, np.int64)
        shape = (n_stack, screen_size, screen_size)
        super().__init__(n_envs, spaces.Box(0, 255, shape, np.uint8), self.games.single_action_space)

    def reset(self) -> Frame:
        """Start a game of each, with the seeds if there are new ones."""
        seed = None if None in self._seeds else np.array(self._seeds)
        frames, info = self.games.reset(seed=seed)
        for i, frame in enumerate(frames[:, -1]):
            self.stack.reset(i, frame)
        self.lives = info["lives"].copy()
        self.scores[:] = 0
        self.lengths[:] = 0
        self._reset_seeds()
        return self.stack.observations()

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Send the actions to the threads."""
        self.games.send(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Receive what came of the actions."""
        frames, rewards, terminated, truncated, info = self.games.recv()
        over = terminated | truncated
        dones = over | (self.terminal_on_life_loss & (info["lives"] > 0) & (info["lives"] < self.lives))
        self.lives = info["lives"].copy()
        self.scores += rewards
        self.lengths += 1
        infos: list[dict[str, Any]] = []
        for i in range(self.num_envs):
            last = info["final_obs"][i, -1] if over[i] else frames[i, -1]
            self.stack.push(i, last)
            told: dict[str, Any] = {"lives": int(self.lives[i])}
            told["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
            if dones[i]:
                told["terminal_observation"] = self.stack.observation(i)
                self.stack.reset(i, frames[i, -1])
            if over[i]:
                told["episode"] = {"r": float(self.scores[i]), "l": int(self.lengths[i])}
                self.scores[i] = self.lengths[i] = 0
            infos.append(told)
        rewards = (np.sign(rewards) if self.clip_reward else rewards).astype(np.float32)
        return self.stack.observations(), rewards, dones, infos

    def get_images(self) -> Sequence[Frame]:
        """Return the newest frame of each, (size, size, 3): ALE's vector does not tell what players see."""
        return [frame[..., None].repeat(3, axis=-1) for frame in self.stack.frames[:, -1]]

    def close(self) -> None:
        """End the threads."""
        self.games.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute, the same for each game."""
        value = "rgb_array" if attr_name == "render_mode" else getattr(self.games, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refuse: the games are out of reach."""
        raise NotImplementedError("ALE's vector environment has no attributes of single games")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Refuse: the games are out of reach."""
        raise NotImplementedError("ALE's vector environment has no methods of single games")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Say that the games are monitored."""
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]
