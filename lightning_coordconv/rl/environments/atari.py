"""Classes of an Atari game and of a vector of games in one process, equal bit for bit to Stable-Baselines3's wrappers.

:class:`LeanAtariVecEnv` is ``VecTransposeImage(VecFrameStack(make_atari_env(...)))`` in one class. It asks the emulator
only for the two screens of a step that are used, and avoids copies.
"""

from collections.abc import Callable, Sequence
from typing import Any

import ale_py
import cv2
import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from lightning_coordconv.rl._sb3 import selected, take_seeds
from lightning_coordconv.rl.environments.frame_stack import Frame, FrameStack


class AtariGame:
    """One game as SB3's ``AtariWrapper`` and ``Monitor`` show it, a frame (size, size) at a time.

    Args:
        game: name of the ROM, such as ``"ms_pacman"``.
        repeat_action_probability: of the emulator's sticky actions.
        full_action_space: all 18 actions, or those that the game knows.
        max_num_frames_per_episode: where an episode is cut off; never if ``None``.
        noop_max: an episode starts with 1 to so many steps without action.
        frame_skip: screens a step; the last two are merged by their maximum.
        screen_size: height and width of a frame in pixels.
        terminal_on_life_loss: whether a lost life ends the episode, though the game goes on.
        clip_reward: to its sign.
    """

    def __init__(
        self,
        game: str,
        repeat_action_probability: float = 0.0,
        full_action_space: bool = False,
        max_num_frames_per_episode: int | None = None,
        noop_max: int = 30,
        frame_skip: int = 4,
        screen_size: int = 84,
        terminal_on_life_loss: bool = True,
        clip_reward: bool = True,
    ) -> None:
        self.game = game
        self.noop_max = noop_max
        self.frame_skip = frame_skip
        self.screen_size = screen_size
        self.terminal_on_life_loss = terminal_on_life_loss
        self.clip_reward = clip_reward
        self.ale = ale_py.ALEInterface()
        self.ale.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale.setFloat("repeat_action_probability", repeat_action_probability)
        if max_num_frames_per_episode is not None:
            self.ale.setInt("max_num_frames_per_episode", max_num_frames_per_episode)
        self.np_random = self._load(None)
        self.actions = self.ale.getLegalActionSet() if full_action_space else self.ale.getMinimalActionSet()
        self.fires = ale_py.Action.FIRE in self.actions
        self.screens = np.zeros((2, *self.ale.getScreenDims(), 3), np.uint8)
        self.screen = self.screens[0].copy()
        self.rewards: list[int] = []
        self.lives = 0
        self.game_is_over = True

    def reset(self, seed: int | None = None) -> Frame:
        """Start an episode, which is the next life if there is one, and return its first frame."""
        self._next_life(seed)
        if self.fires:
            for action in (1, 2):
                _, terminated, truncated, _ = self._live(action)
                screen = self.screen.copy()
                if terminated or truncated:
                    self._next_life(seed)
            self.screen[:] = screen  # SB3's FireResetEnv shows what the second of them led to, even to an end
        return self._frame()

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Take an action and return the frame, the reward, whether the episode has ended or is cut off, and more."""
        reward, terminated, truncated, info = self._live(action)
        return self._frame(), float(np.sign(reward)) if self.clip_reward else reward, terminated, truncated, info

    def render(self) -> Frame:
        """Return what a player sees, (210, 160, 3)."""
        return self.ale.getScreenRGB()

    def _load(self, seed: int | None) -> np.random.Generator:
        """Load the ROM and return the seeded generator, as gymnasium's ``AtariEnv`` does both."""
        np_seed, ale_seed = np.random.SeedSequence(seed).generate_state(2)
        self.ale.setInt("random_seed", int(np.int32(ale_seed)))
        self.ale.loadROM(str(ale_py.roms.get_rom_path(self.game)))
        return gym.utils.seeding.np_random(int(np_seed))[0]

    def _act(self, action: int) -> tuple[int, bool, bool]:
        reward = self.ale.act(self.actions[action])
        self.rewards.append(reward)
        return reward, self.ale.game_over(with_truncation=False), self.ale.game_truncated()

    def _new_game(self, seed: int | None) -> None:
        self._start(seed)
        for _ in range(int(self.np_random.integers(1, self.noop_max + 1)) if self.noop_max else 0):
            _, terminated, truncated = self._act(0)
            if terminated or truncated:
                self._start(seed)
        self.ale.getScreenRGB(self.screen)

    def _start(self, seed: int | None) -> None:
        if seed is not None:
            self.np_random = self._load(seed)
        self.ale.reset_game()
        self.rewards = []

    def _skip(self, action: int) -> tuple[float, bool, bool, dict[str, Any]]:
        """Take an action for a few screens; where the game ends early, older screens take the place of the missing."""
        total = 0.0
        for i in range(self.frame_skip):
            reward, terminated, truncated = self._act(action)
            total += reward
            if i >= self.frame_skip - 2:
                self.ale.getScreenRGB(self.screens[i - self.frame_skip + 2])
            if terminated or truncated:
                break
        if self.frame_skip > 1:
            np.maximum(self.screens[0], self.screens[1], out=self.screen)
        else:
            self.screen[:] = self.screens[1]
        info: dict[str, Any] = {
            "lives": self.ale.lives(),
            "episode_frame_number": self.ale.getEpisodeFrameNumber(),
            "frame_number": self.ale.getFrameNumber(),
        }
        if terminated or truncated:
            info["episode"] = {"r": round(float(sum(self.rewards)), 6), "l": len(self.rewards)}
        return total, terminated, truncated, info

    def _live(self, action: int) -> tuple[float, bool, bool, dict[str, Any]]:
        reward, terminated, truncated, info = self._skip(action)
        self.game_is_over = terminated or truncated
        if self.terminal_on_life_loss:
            # in Qbert there are zero lives for a few screens before the game is over
            terminated = terminated or 0 < info["lives"] < self.lives
            self.lives = info["lives"]
        return reward, terminated, truncated, info

    def _next_life(self, seed: int | None) -> None:
        if self.game_is_over or not self.terminal_on_life_loss:
            self._new_game(seed)
        else:
            _, terminated, truncated, _ = self._skip(0)
            if terminated or truncated:
                self._new_game(seed)
        self.lives = self.ale.lives()

    def _frame(self) -> Frame:
        grey = cv2.cvtColor(self.screen, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, (self.screen_size, self.screen_size), interpolation=cv2.INTER_AREA)


class LeanAtariVecEnv(VecEnv):
    """Atari games in this process, equal bit for bit to SB3's wrappers, with a state that can be saved.

    Observations, rewards, ends, terminal observations, lives and scores are those of ``VecTransposeImage`` over
    ``VecFrameStack`` over ``make_atari_env``; only the wall-clock time ``t`` of an episode is missing.

    Args:
        n_envs: number of games.
        n_stack: frames in an observation.
        **game: arguments of :class:`AtariGame`.
    """

    def __init__(self, n_envs: int, n_stack: int = 4, **game: Any) -> None:
        self.games = [AtariGame(**game) for _ in range(n_envs)]
        first = self.games[0]
        self.stack = FrameStack(n_envs, n_stack, first.screen_size)
        self.actions: NDArray[np.int64] = np.zeros(n_envs, np.int64)
        shape = (n_stack, first.screen_size, first.screen_size)
        super().__init__(n_envs, spaces.Box(0, 255, shape, np.uint8), spaces.Discrete(len(first.actions)))

    def reset(self) -> Frame:
        """Start an episode of each, with the seeds if there are new ones."""
        for i, (game, seed) in enumerate(zip(self.games, take_seeds(self), strict=True)):
            self.stack.reset(i, game.reset(seed))
        return self.stack.observations()

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Take note of the actions."""
        self.actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Take the actions, and start new episodes where one has ended."""
        rewards, dones = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool)
        infos: list[dict[str, Any]] = []
        for i, (game, action) in enumerate(zip(self.games, self.actions, strict=True)):
            frame, rewards[i], terminated, truncated, info = game.step(action)
            self.stack.push(i, frame)
            dones[i] = terminated or truncated
            info["TimeLimit.truncated"] = truncated and not terminated
            if dones[i]:
                info["terminal_observation"] = self.stack.observation(i)
                self.stack.reset(i, game.reset())
            infos.append(info)
        return self.stack.observations(), rewards, dones, infos

    def get_images(self) -> Sequence[Frame]:
        """Return what players see."""
        return [game.render() for game in self.games]

    def close(self) -> None:
        """Do nothing: there are no processes and no files."""

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of each game."""
        if attr_name == "render_mode":
            return ["rgb_array"] * self.num_envs
        return [getattr(self.games[i], attr_name) for i in selected(self, indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of each game."""
        for i in selected(self, indices):
            setattr(self.games[i], attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Call a method of each game."""
        methods: list[Callable[..., Any]] = self.get_attr(method_name, indices)
        return [method(*args, **kwargs) for method in methods]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Say that the games are monitored."""
        return [wrapper_class is Monitor for _ in selected(self, indices)]
