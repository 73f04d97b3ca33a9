"""Vector environment of Atari games in ALE's threads: the fastest, with slight differences from Stable-Baselines3's."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ale_py.vector_env import AtariVectorEnv
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from lightning_coordconv.rl._sb3 import selected, take_seeds
from lightning_coordconv.rl.environments.frame_stack import Frame


def pinned_frames(shape: tuple[int, ...]) -> Frame:
    """Return an array of bytes with undefined values, in memory that a GPU can read if there is one."""
    frames: Frame = torch.empty(shape, dtype=torch.uint8, pin_memory=torch.cuda.is_available()).numpy()
    return frames


class AleVecEnv(VecEnv):
    """ale-py's ``AtariVectorEnv`` with the interface and most of the semantics of SB3.

    As with SB3's wrappers, rewards are clipped to their sign, a lost life ends the episode while the game continues,
    the stack of frames starts from zeros, and the end of a game reports its score. Differences: an episode starts with
    0 to 29 steps without action, not 1 to 30; FIRE is pressed once, before them, and never after a lost life, so an
    agent must learn it; the last two screens are converted to grey before their maximum is taken, not after, so some
    pixels differ. Its state cannot be saved. Learning curves of the two are not comparable.

    The emulators run in threads, without Python's lock, while the host waits in :meth:`step_wait` only. All games are
    processed together: the host's share of a step is one copy of the frames. Frames stay bytes until they are on the
    device, and where there is a GPU they are in pinned memory, which it reads without another copy.

    Args:
        n_envs: number of games.
        n_stack: frames in an observation.
        game: name of the ROM, such as ``"ms_pacman"``.
        num_threads: threads of the emulators; if 0, one for each game, and at most one for each core.
        noop_max: an episode starts with fewer steps without action than this.
        frame_skip: screens a step.
        screen_size: height and width of a frame in pixels.
        terminal_on_life_loss: whether a lost life ends the episode.
        clip_reward: to its sign.
        **game_arguments: further arguments of ``AtariVectorEnv``.
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
        self.frames = pinned_frames((n_envs, n_stack, screen_size, screen_size))
        self.lives = np.zeros(n_envs, np.int32)
        self.scores, self.lengths = np.zeros(n_envs), np.zeros(n_envs, np.int64)
        shape = (n_stack, screen_size, screen_size)
        super().__init__(n_envs, spaces.Box(0, 255, shape, np.uint8), self.games.single_action_space)

    def reset(self) -> Frame:
        """Start all games, with new seeds if there are any."""
        seeds = take_seeds(self)
        seed = None if None in seeds else np.array(seeds)
        frames, info = self.games.reset(seed=seed)
        self.frames = pinned_frames(self.frames.shape)
        self.frames[:, :-1] = 0
        self.frames[:, -1] = frames[:, -1]
        self.lives = info["lives"].copy()
        self.scores[:] = 0
        self.lengths[:] = 0
        return self.frames

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Send the actions to the threads."""
        self.games.send(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Receive the results, and return new arrays, since the caller keeps the last ones."""
        frames, rewards, terminated, truncated, info = self.games.recv()
        over = terminated | truncated
        lives = info["lives"]
        dones = over | (self.terminal_on_life_loss & (lives > 0) & (lives < self.lives))
        self.lives = lives.copy()
        self.scores += rewards
        self.lengths += 1
        stack = pinned_frames(self.frames.shape)
        stack[:, :-1] = self.frames[:, 1:]
        stack[:, -1] = frames[:, -1]
        infos: list[dict[str, Any]] = [{"lives": count, "TimeLimit.truncated": False} for count in lives.tolist()]
        for i in np.flatnonzero(dones):
            if over[i]:
                stack[i, -1] = info["final_obs"][i, -1]
                infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
                infos[i]["episode"] = {"r": float(self.scores[i]), "l": int(self.lengths[i])}
                self.scores[i] = self.lengths[i] = 0
            infos[i]["terminal_observation"] = stack[i].copy()
            stack[i, :-1] = 0
            stack[i, -1] = frames[i, -1]
        self.frames = stack
        rewards = (np.sign(rewards) if self.clip_reward else rewards).astype(np.float32)
        return self.frames, rewards, dones, infos

    def get_images(self) -> Sequence[Frame]:
        """Return the newest frame of each game, (size, size, 3): ALE's vector does not return the screens in colour."""
        return [frame[..., None].repeat(3, axis=-1) for frame in self.frames[:, -1]]

    def close(self) -> None:
        """Stop the threads."""
        self.games.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute, the same for each game."""
        value = "rgb_array" if attr_name == "render_mode" else getattr(self.games, attr_name)
        return [value for _ in selected(self, indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Refuse: single games cannot be accessed."""
        raise NotImplementedError("ALE's vector environment has no attributes of single games")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Refuse: single games cannot be accessed."""
        raise NotImplementedError("ALE's vector environment has no methods of single games")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Say that the games are monitored, as they report their scores."""
        return [wrapper_class is Monitor for _ in selected(self, indices)]
